"""Every metric has a card that says what it is, and a self-test of this very version that ships with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sana_bench.cards import cards
from sana_bench.cli import main
from sana_bench.corruptions import CORRUPTIONS
from sana_bench.config import load_config
from sana_bench.metrics import CARD_SECTIONS, METRICS, read_card, usual_metrics
from sana_bench.score import evaluate_metric
from sana_bench.selftest.native_faults import FAULTS, IN_SMALL, native_faults
from sana_bench.selftest.response import TELLS
from sana_bench.selftest.results import PASSES, SHIPPED, MetricSelfTest, SelfTest, own_file, read_selftest, save_selftest, why_not_judged
from sana_bench.selftest.scenarios import SCENARIOS
from sana_bench.split import HELD_OUT_PEOPLE, LEARNED_KINDS
from tests.contract.test_metrics import CONTEXT, samples_of


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


ALWAYS_HERE, BY_NAME = ([name for name in METRICS.names() if METRICS.get(name).always_here is here] for here in (True, False))


@pytest.mark.parametrize("name", ALWAYS_HERE)
def test_a_self_test_of_this_version_is_shipped(name: str) -> None:
    """Otherwise it decides nothing: run `sana-bench selftest --out sana_bench/selftest/results.json`."""
    entry = METRICS.get(name)
    test = read_selftest(SHIPPED).metrics.get(entry.name)
    if entry.service is not None:
        assert test is None, "what a service answers on one machine says nothing of another's"
        return
    assert test is not None and (test.version, test.extractor_digest) == (entry.version, entry.extractor_digest())
    assert {response.damage for response in test.responses if response.claimed} == set(entry.sees)
    reached = all(test.auc.get(name, 0) >= PASSES for name in entry.sees) and test.monotone
    assert test.passed is reached and bool(test.why) is not reached
    assert not {response.damage for response in test.responses} & LEARNED_KINDS


@pytest.mark.parametrize("name", [*BY_NAME, "kid_inception_v3", "clip_s_vit_l_14_openai"])
def test_what_needs_weights_pulled_by_name_is_shown_and_not_judged(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has tested it on the shipped photographs; whoever does, on their machine, makes it judge there."""
    monkeypatch.setenv("SANA_BENCH_CACHE", str(tmp_path))
    entry = METRICS.get(name)
    assert not entry.always_here and not entry.usual and name not in read_selftest(SHIPPED).metrics
    samples = [replace(sample, features={**sample.features, entry.extractor: sample.features[entry.extractor.removesuffix("_depicts")]}) for sample in samples_of(0)]
    _, _, result = evaluate_metric(entry, entry.make(CONTEXT), samples, load_config("tiny"))
    assert result.value is not None
    assert result.not_judged == f"no self-test of version {entry.version} is known: run sana-bench selftest {name}"
    passed = MetricSelfTest(version=entry.version, extractor_digest=entry.extractor_digest(), passed=True, why="", auc={}, monotone=True, blind_to=(),
                            seconds_per_image=0, responses=())
    save_selftest(SelfTest(created="", sana_bench="", device="cpu", people=(), metrics={name: passed}), own_file())
    assert why_not_judged(entry) == ""


def test_the_two_kinds_are_told_apart_by_their_weights() -> None:
    assert {"fid", "fd_dinov2", "clip_score_vit_l_14_openai", "pickscore_v1", "hps_v2_1"} == set(BY_NAME)
    assert {"kid_efficientnet_lite0", "clip_score_tiny_clip", "hand_rate"} < set(ALWAYS_HERE) and set(usual_metrics()) <= set(ALWAYS_HERE)


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
    assert all(f"{prefix}_..." in listed for prefix in METRICS.families()) and "ImageReward is left out" in listed
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
