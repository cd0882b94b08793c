"""The order in which prompts are drawn: any beginning of it stands for the suite."""

from __future__ import annotations

from collections import Counter

import pytest

from sana_bench.prompts import drawing_order, load_suite, shipped_suites


@pytest.mark.parametrize("name", shipped_suites())
def test_a_beginning_has_its_share_of_every_topic(name):
    """Of a tag with n prompts, half of the suite holds n / 2, give or take three standard errors of a half drawn by lot."""
    suite = load_suite(name)
    half = set(drawing_order(suite)[:len(suite.prompt) // 2])
    totals = Counter(tag for prompt in suite.prompt for tag in {*prompt.tags, f"difficulty {prompt.difficulty}"})
    first = Counter(tag for prompt in suite.prompt if prompt.id in half for tag in {*prompt.tags, f"difficulty {prompt.difficulty}"})
    for tag, number in totals.items():
        assert abs(first[tag] - number / 2) <= 1 + 1.5 * number**0.5, tag


@pytest.mark.parametrize("name", ["human_core", "human_diversity"])
def test_neighbours_in_the_file_are_spread(name):
    """Every eight neighbours, one topic, are in each quarter of the order about twice."""
    suite = load_suite(name)
    place = {prompt_id: number for number, prompt_id in enumerate(drawing_order(suite))}
    num = len(suite.prompt)
    for start in range(0, num - 7, 8):
        quarters = Counter(4 * place[prompt.id] // num for prompt in suite.prompt[start:start + 8])
        assert set(quarters) == {0, 1, 2, 3} and max(quarters.values()) <= 4


def test_it_holds_every_prompt_once_and_is_not_the_files_order():
    for name in shipped_suites():
        suite = load_suite(name)
        ids = [prompt.id for prompt in suite.prompt]
        assert sorted(drawing_order(suite)) == sorted(ids) and drawing_order(suite) != ids


def test_it_depends_on_the_version_and_not_on_what_prompts_expect():
    suite = load_suite("tiny_humans")
    other = suite.model_copy(update={"description": "x", "prompt": tuple(prompt.model_copy(update={"tags": ("new",)}) for prompt in suite.prompt)})
    assert drawing_order(other) == drawing_order(suite)
    assert drawing_order(suite.model_copy(update={"version": 2})) != drawing_order(suite)
