"""Every shipped suite, found by its file: it loads, and a run can make sense of it."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from sana_bench.data.openpeople import EMOTIONS
from sana_bench.prompts import PromptSuite, load_suite, shipped_suites

SUITES = list(shipped_suites())
TINY_CLAUSES = {"plain white shirt", "plain grey background", "white t-shirt and shorts", "standing straight", "front view",
                "hands loose on the sides", *(f"{emotion} expression" for emotion in EMOTIONS)}
AGE = re.compile(r"\baged \d|year-old|years old|\b(elderly|toddler|teenager)\b|in (his|her|their) (twen|thir|for|fif|six)")
FRAMINGS = ("studio portrait", "studio headshot", "casual selfie", "full-body studio photo", "casual full-body photo")


@pytest.fixture(params=SUITES)
def suite(request: pytest.FixtureRequest) -> PromptSuite:
    return load_suite(request.param)


def test_there_are_suites() -> None:
    assert {"tiny_humans", "human_core", "human_diversity", "human_explicit", "general_guard"} <= set(SUITES)


def test_suite_is_named_after_its_file_and_says_where_it_comes_from(suite: PromptSuite) -> None:
    assert suite.name in SUITES and load_suite(suite.name) == suite
    assert suite.source and suite.license and suite.description


def test_every_prompt_is_tagged_and_every_tag_is_a_word(suite: PromptSuite) -> None:
    for prompt in suite.prompt:
        assert prompt.tags, prompt.id
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", tag) for tag in prompt.tags), prompt.id


def test_every_attribute_with_a_target_is_left_open_often_enough(suite: PromptSuite) -> None:
    """A share among fewer than eight images says nothing."""
    for attribute in ("gender", "age", "skin_tone"):
        if getattr(suite.target, attribute):
            open_prompts = [prompt for prompt in suite.prompt if attribute not in prompt.states and prompt.expects.faces]
            assert len(open_prompts) >= 8, attribute


def test_a_prompt_that_says_man_or_woman_states_gender(suite: PromptSuite) -> None:
    """The other way round too where a text speaks of one person: "a person" leaves it open."""
    for prompt in suite.prompt:
        if re.search(r"\b(man|woman|boy|girl|bride|businesswoman|father|mother)\b", prompt.text.lower()):
            assert "gender" in prompt.states, prompt.id
        if re.search(r"\b(of|on|in|outdoors) a person\b|\bA person\b", prompt.text):
            assert "gender" not in prompt.states, prompt.id


def test_a_prompt_with_an_age_states_it(suite: PromptSuite) -> None:
    for prompt in suite.prompt:
        if AGE.search(prompt.text):
            assert "age" in prompt.states, prompt.id


def test_a_full_body_has_no_more_hands_than_people_can_have(suite: PromptSuite) -> None:
    for prompt in suite.prompt:
        assert prompt.expects.hands <= 2 * max(prompt.expects.faces, 1), prompt.id


def test_tiny_suite_speaks_the_language_tiny_sana_learnt() -> None:
    """Half of it open, and every framing there. Studio clauses are those of the captions: nothing unseen is asked for."""
    suite = load_suite("tiny_humans")
    assert len(suite.prompt) == 24 and sum(not prompt.states for prompt in suite.prompt) == 12
    for prompt in suite.prompt:
        framing, _, rest = prompt.text.partition(" of ")
        subject, *clauses = rest.split(", ")
        assert framing in FRAMINGS, prompt.id
        assert subject == "a person" if not prompt.states else re.match(r"a (wo)?man\b", subject), prompt.id
        assert "studio" not in framing or set(clauses) <= TINY_CLAUSES, prompt.id
        assert prompt.expects.full_body == ("full-body" in framing), prompt.id
        assert prompt.expects.hands == 2 * prompt.expects.full_body, prompt.id
    assert {prompt.text.partition(" of ")[0] for prompt in suite.prompt} == set(FRAMINGS)


@pytest.mark.parametrize(("name", "fewest"), [("human_core", 200), ("human_diversity", 60), ("human_explicit", 60), ("general_guard", 80)])
def test_big_suites_are_big_and_have_both_forms(name: str, fewest: int) -> None:
    suite = load_suite(name)
    assert len(suite.prompt) >= fewest and len({prompt.text for prompt in suite.prompt}) == len(suite.prompt)
    assert all(30 <= len(prompt.text.split()) <= 65 and 6 <= len(prompt.short.split()) <= 18 for prompt in suite.prompt)
    assert {prompt.difficulty for prompt in suite.prompt} == {"easy", "medium", "hard"}


def test_core_suite_has_every_kind_of_picture() -> None:
    categories = Counter(prompt.tags[0] for prompt in load_suite("human_core").prompt)
    assert categories.keys() == {"portrait", "hands_in_use", "hands_at_rest", "full_body", "expression", "several_people", "clothes_and_accessories",
                                 "light_and_shadow", "ages", "small_faces_in_a_scene"}
    assert min(categories.values()) >= 12


def test_diversity_suite_leaves_everything_open_and_declares_a_target() -> None:
    suite = load_suite("human_diversity")
    assert all(not prompt.states and prompt.expects.faces == 1 for prompt in suite.prompt)
    assert all(getattr(suite.target, attribute) for attribute in ("gender", "age", "skin_tone"))


def test_explicit_suite_asks_for_every_combination_equally_often() -> None:
    asked = Counter(tuple(prompt.asked.model_dump().values()) for prompt in load_suite("human_explicit").prompt)
    assert len(asked) == 18 and set(asked.values()) == {4} and not any(None in combination for combination in asked)


def test_guard_suite_has_nobody() -> None:
    people = re.compile(r"\b(man|men|woman|women|person|people|child|children|face|hands?|somebody|crowd|portrait)\b", re.IGNORECASE)
    for prompt in load_suite("general_guard").prompt:
        assert prompt.expects.persons == prompt.expects.faces == prompt.expects.hands == 0, prompt.id
        assert not people.search(f"{prompt.text} {prompt.short}"), prompt.id
