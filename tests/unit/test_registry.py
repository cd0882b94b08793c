"""The registry finds entries by file, refuses duplicates, and names what was probably meant."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sana_bench.errors import ConfigError
from sana_bench.registry import Registry, near_names


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry over a package on disk with one file an entry."""
    package = tmp_path / "palette_package"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from sana_bench.registry import Registry\nCOLOURS = Registry('colour', 'palette_package')\n")
    for name, value in (("scarlet", 1), ("indigo", 2)):
        (package / f"{name}.py").write_text(f"from palette_package import COLOURS\nCOLOURS.register('{name}', {value})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("palette_package").COLOURS
    for name in [each for each in sys.modules if each.startswith("palette_package")]:
        del sys.modules[name]


def test_entries_are_found_by_their_files(colours: Registry) -> None:
    assert colours.names() == ["indigo", "scarlet"]
    assert (colours.get("scarlet"), colours.get("indigo")) == (1, 2)
    assert list(colours) == colours.names()


def test_a_new_file_is_a_new_entry(colours: Registry, tmp_path: Path) -> None:
    (tmp_path / "palette_package" / "ochre.py").write_text(
        "from palette_package import COLOURS\nCOLOURS.register('ochre', 3)\n")
    assert colours.get("ochre") == 3


def test_unknown_name_says_which_are_known_and_which_is_near(colours: Registry) -> None:
    with pytest.raises(ConfigError) as caught:
        colours.get("scarlett")
    assert str(caught.value) == 'unknown colour "scarlett". Did you mean "scarlet"? Known: indigo, scarlet'


def test_entries_of_a_family_are_made_when_asked_for_and_not_listed(colours: Registry) -> None:
    asked: list[str] = []

    def light(of: str) -> str:
        asked.append(of)
        return f"light {colours.get(of)}"

    colours.add_family("light", light, "paler than it")
    assert colours.names() == ["indigo", "scarlet"] and asked == []
    assert colours.get("light_scarlet") == "light 1" and asked == ["scarlet"]
    assert "light_indigo" in colours and "indigo" in colours and "light_ochre" not in colours and "lightscarlet" not in colours
    with pytest.raises(ConfigError, match='unknown colour "scarlett". Did you mean "scarlet"'):
        colours.get("light_scarlett")
    colours.register("light_scarlet", 3)
    assert colours.get("light_scarlet") == 3, "what is registered comes first"
    assert {prefix: family.explanation for prefix, family in colours.families().items()} == {"light": "paler than it"}
    with pytest.raises(ValueError, match="registered twice"):
        colours.add_family("light", light, "")


def test_a_name_registered_twice_is_our_mistake() -> None:
    registry: Registry[int] = Registry("colour", "json")
    registry.register("scarlet", 1)
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("scarlet", 2)
    assert registry.get("scarlet") == 1


@pytest.mark.parametrize("name", ["Scarlet", "2red", "dark-red", "", "red blue", "rot."])
def test_untidy_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="lower_snake_case"):
        Registry("colour", "json").register(name, 1)


def test_decorator_returns_the_class_and_registers_what_is_made_of_it() -> None:
    registry: Registry[str] = Registry("colour", "json")

    @registry.decorator("scarlet", lambda cls: cls.__name__)
    class Scarlet:
        pass

    assert registry.get("scarlet") == "Scarlet"
    assert isinstance(Scarlet(), Scarlet)


def test_near_names_is_silent_where_nothing_is_near() -> None:
    assert near_names("rnak", ["rank", "seed"]) == ' Did you mean "rank"?'
    assert near_names("zzzzz", ["rank", "seed"]) == ""
