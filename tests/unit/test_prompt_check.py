"""Prompt suites are looked at: each finding beside its twin that is in order."""

from __future__ import annotations

import pytest

from sana_bench.prompt_check import CLIP_TOKENS, check_suite, clip_tokens
from sana_bench.prompts import Asked, Expects, Prompt, PromptSuite, load_suite

LONG = "A carpenter planes a board in a workshop full of clamps while shavings curl over both hands and the light falls from a high window. " * 4


def suite_of(*prompts: Prompt) -> PromptSuite:
    return PromptSuite(name="mine", version=1, description="d", source="s", license="l", prompt=prompts)


def kinds(*prompts: Prompt) -> list[str]:
    return [finding.kind for finding in check_suite(suite_of(*prompts))]


@pytest.mark.parametrize(("prompt", "twin"), [
    (Prompt(id="a", text="A woman waves"), Prompt(id="a", text="A woman waves", states=("gender",))),
    (Prompt(id="a", text="Somebody waves", short="She waves"), Prompt(id="a", text="Somebody waves", short="Someone waves")),
    (Prompt(id="a", text="An old man rests", states=("gender",)), Prompt(id="a", text="A man rests on an old wall", states=("gender",))),
    (Prompt(id="a", text="Somebody waves", asked=Asked(age="over_50")), Prompt(id="a", text="Somebody waves", asked=Asked(age="over_50"), states=("age",)))])
def test_words_against_declared_attributes(prompt: Prompt, twin: Prompt) -> None:
    assert kinds(prompt) == ["states"] and kinds(twin) == []


def test_an_old_tower_in_a_suite_without_people_states_nothing() -> None:
    assert kinds(Prompt(id="a", text="An old tower for a bride of the wind", expects=Expects(persons=0, faces=0))) == []


@pytest.mark.parametrize(("expects", "fine"), [
    (Expects(persons=1, faces=2), False), (Expects(persons=2, faces=2), True), (Expects(persons=1, hands=3), False), (Expects(persons=2, hands=3), True)])
def test_nobody_has_two_faces_or_three_hands(expects: Expects, fine: bool) -> None:
    assert kinds(Prompt(id="a", text="Some wave", expects=expects)) == ([] if fine else ["expects"])


def test_a_text_that_clip_would_cut_needs_a_short_form() -> None:
    assert clip_tokens(LONG) > CLIP_TOKENS and clip_tokens("a person waving") == 5
    assert kinds(Prompt(id="a", text=LONG)) == ["tokens"]
    assert kinds(Prompt(id="a", text=LONG, short="A carpenter planes a board")) == []


def test_near_duplicates_are_named_unless_they_ask_for_different_people() -> None:
    texts = [f"A {word} tunes a violin at the window of a quiet workshop in the morning" for word in ("maker", "player")]
    same = [Prompt(id=f"p{index}", text=text) for index, text in enumerate(texts)]
    asked = [prompt.model_copy(update={"asked": Asked(skin_tone=tone), "states": ("skin_tone",)}) for prompt, tone in zip(same, ("light", "dark"), strict=True)]
    assert kinds(*same) == ["near-duplicate"] and check_suite(suite_of(*same))[0].prompt == "p0, p1"
    assert kinds(*asked) == []
    assert kinds(same[0], Prompt(id="p2", text="Two friends carry a long ladder across the yard at dusk", expects=Expects(persons=2, faces=2))) == []


def test_a_tag_of_three_prompts_is_too_few() -> None:
    texts = ("Somebody waves at a bus", "A cook tastes soup", "Rain falls on a tent", "A clerk stamps letters")
    prompts = [Prompt(id=f"p{index}", text=text, tags=("daily",)) for index, text in enumerate(texts)]
    assert kinds(*prompts) == [] and kinds(*prompts[:3]) == ["balance"]


@pytest.mark.parametrize("name", ["human_core", "human_diversity", "human_explicit", "general_guard"])
def test_the_shipped_suites_have_no_finding(name: str) -> None:
    assert check_suite(load_suite(name)) == []
