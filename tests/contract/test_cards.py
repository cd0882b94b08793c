"""Every metric has a card that says what it is, and a self-test of this very version that ships with it."""

from __future__ import annotations

import json

import pytest

from sana_bench.cards import cards
from sana_bench.cli import main
from sana_bench.corruptions import CORRUPTIONS
from sana_bench.metrics import CARD_SECTIONS, METRICS, read_card
from sana_bench.selftest.native_faults import FAULTS, IN_SMALL, native_faults
from sana_bench.selftest.response import TELLS
from sana_bench.selftest.results import PASSES, SHIPPED, read_selftest
from sana_bench.selftest.scenarios import SCENARIOS
from sana_bench.split import HELD_OUT_PEOPLE, LEARNED_KINDS


@pytest.fixture(params=METRICS.names())
def entry(request: pytest.FixtureRequest):
    return METRICS.get(request.param)


def test_every_metric_has_a_card_with_all_sections(entry) -> None:
    assert {name.lower() for name in CARD_SECTIONS} <= set(entry.card), entry.name
    assert all(len(entry.card[name.lower()]) > 20 for name in CARD_SECTIONS)
    assert entry.card["source"].endswith(".") and entry.card["use"].endswith(".")


def test_what_it_claims_to_see_exists_and_was_not_learned(entry) -> None:
    assert entry.sees and not set(entry.sees) & LEARNED_KINDS
    assert set(entry.sees) <= {*CORRUPTIONS.names(), *SCENARIOS}


def test_a_self_test_of_this_version_is_shipped(entry) -> None:
    """Otherwise it decides nothing: run `sana-bench selftest --out sana_bench/selftest/results.json`."""
    test = read_selftest(SHIPPED).metrics.get(entry.name)
    assert test is not None and (test.version, test.extractor_digest) == (entry.version, entry.extractor_digest())
    assert {response.damage for response in test.responses if response.claimed} == set(entry.sees)
    reached = all(test.auc.get(name, 0) >= PASSES for name in entry.sees) and test.monotone
    assert test.passed is reached and bool(test.why) is not reached
    assert not {response.damage for response in test.responses} & LEARNED_KINDS


def test_the_shipped_self_test_is_of_people_that_nothing_has_learned_from() -> None:
    assert set(read_selftest(SHIPPED).people) == set(HELD_OUT_PEOPLE)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_2k_pictures_is_seen_and_not_by_a_distance_in_small(fault: str) -> None:
    """A blur of two pixels, JPEG of quality 50, seams of tiles, 1024 pixels enlarged: in the shipped self-test, at these doses."""
    aucs = native_faults(read_selftest(SHIPPED).metrics)[fault]
    assert set(IN_SMALL) < set(aucs) and all(aucs[name] < TELLS for name in IN_SMALL)
    best = next(iter(aucs))
    assert best not in IN_SMALL and aucs[best] >= PASSES and METRICS.get(best).sees.count(fault) == 1


def test_cards_are_read_from_docstrings() -> None:
    first, card = read_card("""First line.

    About it,
    in two lines.

    Formula: a + b
        over c.
    Limits: none: at all.
    """)
    assert first == "First line."
    assert card == {"about": "About it, in two lines.", "formula": "a + b over c.", "limits": "none: at all."}


def test_metrics_list_and_show_answer_in_text_and_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "list"]) == 0
    listed = capfd.readouterr().out
    assert all(name in listed for name in METRICS.names())
    assert main(["metrics", "show", "hand_plausibility"]) == 0
    shown = capfd.readouterr().out
    assert all(word in shown for word in ("formula:", "source:", "limits:", "use:", "blind to", "hand_fused_fingers"))
    assert main(["metrics", "show", "hand_plausibility", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document[0]["name"] == "hand_plausibility" and document[0]["self_test"]["auc"]


def test_an_unknown_metric_is_one_clear_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "show", "hand_plausability"]) == 2
    assert 'Did you mean "hand_plausibility"?' in capfd.readouterr().err


def test_every_metric_has_one_card() -> None:
    assert [card.name for card in cards()] == METRICS.names()
