"""One Registry class: metrics, extractors and trainers each have one. A new entry is a new file in the registry's folder."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from sana_bench.errors import ConfigError

T = TypeVar("T")


def near_names(name: str, known: list[str]) -> str:
    """` Did you mean "rank"?`, or nothing where no known name is near."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f' Did you mean "{near[0]}"?' if near else ""


@dataclass(frozen=True)
class Family(Generic[T]):
    """Entries that nobody lists since there is one for each of many things: `<prefix>_<of>` is made when it is asked for."""

    make: Callable[[str], T]
    """What the entry is of -> the entry; raises ConfigError where there is none."""
    explanation: str


class Registry(Generic[T]):
    """Names to entries of one kind. Entries register themselves when their module is imported.

    Args:
        kind: what an entry is called in messages ("metric").
        package: the package whose modules are all imported before the first look-up, so that no list names them. Another installed
            package adds entries with an entry point in the group of that name (`sana_bench.metrics`, `sana_bench.features`),
            whose value is a module that registers them.
    """

    def __init__(self, kind: str, package: str):
        self.kind, self.package = kind, package
        self._entries: dict[str, T] = {}
        self._families: dict[str, Family[T]] = {}
        self._loaded = False

    def register(self, name: str, entry: T) -> T:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"{self.kind} name {name!r} must be lower_snake_case")
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = entry
        return entry

    def decorator(self, name: str, make: Callable[[type], T]) -> Callable[[type], type]:
        """A class decorator that registers `make(cls)` under `name` and returns the class unchanged."""
        def register(cls: type) -> type:
            self.register(name, make(cls))
            return cls
        return register

    def add_family(self, prefix: str, make: Callable[[str], T], explanation: str) -> None:
        """From now on `get("<prefix>_<of>")` is `make(of)` where no entry of that name is registered."""
        if prefix in self._families:
            raise ValueError(f"{self.kind} family {prefix!r} is registered twice")
        self._families[prefix] = Family(make, explanation)

    def get(self, name: str) -> T:
        """The entry of that name, registered or of a family.

        Raises:
            ConfigError: there is none; the message has the nearest name and all names.
        """
        self._load()
        if name in self._entries:
            return self._entries[name]
        for prefix in sorted(self._families, key=len, reverse=True):  # kid_to_base before kid
            if name.startswith(f"{prefix}_"):
                return self._families[prefix].make(name.removeprefix(f"{prefix}_"))
        raise ConfigError(f'unknown {self.kind} "{name}".{near_names(name, self.names())} '
                          f'Known: {", ".join(self.names())}')

    def names(self) -> list[str]:
        """Of the registered entries; those of families are not counted."""
        self._load()
        return sorted(self._entries)

    def families(self) -> dict[str, Family[T]]:
        """By prefix, sorted."""
        self._load()
        return dict(sorted(self._families.items()))

    def __contains__(self, name: str) -> bool:
        """Whether `get` has it."""
        try:
            self.get(name)
        except ConfigError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for plugin in entry_points(group=self.package):
            try:
                plugin.load()
            except Exception as error:  # whatever a plug-in raises is its own; ours is to say which one
                raise ConfigError(f'the plug-in "{plugin.name}" of {plugin.dist.name if plugin.dist else "an unknown package"} ({plugin.value}) cannot be loaded: '
                                  f"{error!r}. Mend or uninstall it") from error
