"""Prompt suites: every mistake in a file is named, and a sample's seed depends on what it should and on nothing else."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_bench.errors import PromptSuiteError
from sana_bench.prompts import Prompt, PromptSuite, Target, load_suite, seed_of, shipped_suites

HEADER = 'name = "mine"\nversion = 1\ndescription = "d"\nsource = "s"\nlicense = "CC0-1.0"\n'
ONE = '[[prompt]]\nid = "one"\ntext = "a person waving"\n'


@pytest.fixture
def suite_file(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return str(path)
    return write


def message_of(suite: str) -> str:
    with pytest.raises(PromptSuiteError) as caught:
        load_suite(suite)
    return str(caught.value)


def suite_of(*prompts: Prompt, name: str = "mine", version: int = 1) -> PromptSuite:
    return PromptSuite(name=name, version=version, description="d", source="s", license="l", prompt=prompts)


def test_a_suite_by_path_and_by_shipped_name(suite_file) -> None:
    assert [prompt.text for prompt in load_suite(suite_file(HEADER + ONE)).prompt] == ["a person waving"]
    assert load_suite("tiny_humans") == load_suite(str(shipped_suites()["tiny_humans"]))


def test_a_prompt_expects_one_face_unless_it_says_otherwise(suite_file) -> None:
    expects = load_suite(suite_file(HEADER + ONE)).prompt[0].expects
    assert (expects.faces, expects.hands, expects.full_body) == (1, 0, False)


def test_missing_id_is_named_with_its_place(suite_file) -> None:
    assert "prompt.1.id: Field required" in message_of(suite_file(HEADER + ONE + '[[prompt]]\ntext = "a person"\n'))


def test_duplicate_ids_are_all_named_once(suite_file) -> None:
    two = ONE.replace("one", "two")
    assert "prompt id used twice: one, two" in message_of(suite_file(HEADER + ONE + two + ONE + two + ONE))


@pytest.mark.parametrize("name", ["", "One", "../up", "a/b", "<script>", "-x", "x" * 65])
def test_ids_that_could_not_be_file_names_are_refused(suite_file, name: str) -> None:
    assert "prompt.0.id: " in message_of(suite_file(HEADER + ONE.replace('"one"', f'"{name}"')))


def test_all_problems_are_reported_at_once(suite_file) -> None:
    text = ('name = "Mine"\nversion = 0\nsource = "s"\nlicense = "l"\ntags = 3\n'
            + ONE + 'hats = 3\n[[prompt]]\nid = "b"\ntext = ""\n')
    message = message_of(suite_file(text + '[[prompt]]\nid = "c"\ntext = "a person"\n'))
    for place in ("name: ", "version: ", "description: ", "tags: ", "prompt.0.hats: ", "prompt.1.text: "):
        assert f"  {place}" in message
    assert "6 problem(s)" in message


@pytest.mark.parametrize(("line", "part"), [
    ("[target]\ngender = { feminine = 0.5, masculine = 0.6 }\n", "sum to 1"),
    ("[target]\ngender = { feminine = 1.5, masculine = -0.5 }\n", "sum to 1"),
    ("[target]\ngender = { female = 1.0 }\n", "feminine"), ("[target]\nheight = { tall = 1.0 }\n", "target.height"),
])
def test_a_target_that_is_no_distribution_is_refused(suite_file, line: str, part: str) -> None:
    assert part in message_of(suite_file(HEADER + line + ONE))


def test_a_suite_without_prompts_is_refused(suite_file) -> None:
    assert "prompt: " in message_of(suite_file(HEADER))


def test_broken_toml_says_where(suite_file) -> None:
    message = message_of(suite_file(HEADER + "[[prompt]\n"))
    assert "is not TOML" in message and "line 6" in message


def test_unknown_suite_names_the_nearest() -> None:
    message = message_of("tiny_human")
    assert 'no prompt suite "tiny_human"' in message and 'Did you mean "tiny_humans"?' in message


def test_digest_changes_with_every_word_and_not_with_the_file_it_came_from(suite_file) -> None:
    digest = load_suite(suite_file(HEADER + ONE)).digest
    assert load_suite(suite_file("# a comment\n" + HEADER + ONE)).digest == digest
    for changed in (ONE.replace("waving", "waving."), ONE + 'tags = ["hands"]\n', ONE + "expects = { hands = 1 }\n",
                    ONE + ONE.replace("one", "b")):
        assert load_suite(suite_file(HEADER + changed)).digest != digest


@given(st.integers(0, 10**6), st.lists(st.sampled_from("bcdef"), unique=True), st.text(min_size=1))
def test_seed_ignores_text_and_neighbours(index: int, neighbours: list[str], text: str) -> None:
    alone = suite_of(Prompt(id="a", text="a person"))
    crowded = suite_of(*(Prompt(id=name, text="x") for name in neighbours), Prompt(id="a", text=text))
    assert seed_of(alone, "a", index) == seed_of(crowded, "a", index)
    assert 0 <= seed_of(alone, "a", index) < 2**63


def test_seed_differs_by_suite_version_prompt_and_index() -> None:
    prompts = (Prompt(id="a", text="x"), Prompt(id="b", text="x"))
    suites = [suite_of(*prompts, name=name, version=version) for name in ("mine", "yours") for version in (1, 2)]
    seeds = {seed_of(suite, prompt, index) for suite in suites for prompt in ("a", "b") for index in range(50)}
    assert len(seeds) == 4 * 2 * 50


def test_seed_is_the_same_on_every_machine_and_in_every_version() -> None:
    """First 8 bytes, big-endian, of `printf tiny_humans/1/portrait-open-1/0 | sha256sum`, shifted right by one bit."""
    suite = load_suite("tiny_humans")
    assert seed_of(suite, "portrait-open-1", 0) == int("5db23edca13f1ad1", 16) >> 1


def test_another_generate_seed_is_another_noise_everywhere_and_0_is_what_it_was() -> None:
    suite = load_suite("tiny_humans")
    sets = [{seed_of(suite, prompt.id, index, seed) for prompt in suite.prompt for index in range(4)} for seed in (0, 1, 2, 10)]
    assert len(set.union(*sets)) == 4 * 4 * len(suite.prompt)
    assert seed_of(suite, "portrait-open-1", 0, 0) == seed_of(suite, "portrait-open-1", 0)


def test_target_may_be_left_out_in_parts() -> None:
    assert Target(gender={"feminine": 0.25, "masculine": 0.75}).age == {}


def test_by_id_finds_the_prompt() -> None:
    suite = load_suite("tiny_humans")
    raw = tomllib.loads(shipped_suites()["tiny_humans"].read_text())["prompt"]
    assert [suite.by_id(prompt["id"]).text for prompt in raw] == [prompt["text"] for prompt in raw]


def test_the_short_form_is_another_suite_with_the_same_prompts(suite_file) -> None:
    both = load_suite(suite_file(HEADER + ONE + 'short = "waving"\n'))
    short = both.in_form("short")
    assert both.in_form("long") is both and [prompt.text for prompt in short.prompt] == ["waving"]
    assert short.digest != both.digest and short.prompt[0].expects == both.prompt[0].expects
    with pytest.raises(PromptSuiteError, match='no short form of 1 prompt.*"one"'):
        load_suite(suite_file(HEADER + ONE)).in_form("short")
