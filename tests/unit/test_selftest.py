"""The self-test itself: AUC and monotony by hand, a metric that sees nothing fails, one that lies about its damage fails, results kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sana_bench.corruptions import CORRUPTIONS
from sana_bench.errors import StoreError
from sana_bench.extract import Item
from sana_bench.metrics import METRICS, ScoredSample
from sana_bench.prompts import Expects, Prompt
from sana_bench.selftest import results as results_module
from sana_bench.selftest.damage import HARMLESS, damaged_copies, harmless_copies, kinds_to_test, photographs_for
from sana_bench.selftest.native_faults import FAULTS, native_faults
from sana_bench.selftest.photographs import Photograph, Shown
from sana_bench.selftest.response import Units, auc, auc_interval, is_monotone, respond
from sana_bench.selftest.results import SelfTest, read_selftest, save_selftest, summarise, why_not_judged
from sana_bench.selftest.run import is_fed, run_selftest
from sana_bench.selftest.scenarios import SCENARIOS
from sana_bench.split import LEARNED_KINDS
from sana_bench.store import Store, digest_of


@pytest.mark.parametrize(("worse", "better", "value"), [
    ([0, 1], [2, 3], 1), ([2, 3], [0, 1], 0), ([1, 1], [1, 1], 0.5), ([0, 2], [1], 0.5), ([0, 1, 2], [1.5, 2], 4.5 / 6)])
def test_auc_is_the_share_of_pairs_in_the_right_order(worse: list[float], better: list[float], value: float) -> None:
    assert auc(np.array(worse, float), np.array(better, float)) == pytest.approx(value)


@pytest.mark.parametrize(("means", "sign", "answer"), [
    ([1, 0.8, 0.5, 0.1], 1, True), ([1, 0.8, 0.5, 0.1], -1, False), ([0, 1, 2, 3], -1, True),
    ([1, 0.5, 0.52, 0.1], 1, True), ([1, 0.5, 0.7, 0.1], 1, False), ([1, 1, 1], 1, False), ([1], 1, False)])
def test_monotone_allows_a_twentieth_of_the_fall(means: list[float], sign: int, answer: bool) -> None:
    assert is_monotone([np.full(10, mean) for mean in means], sign) is answer


def test_monotone_allows_what_chance_does_and_no_more() -> None:
    """A step up of 0.2: within two standard errors of ten values that spread by 0.5, beyond those of a hundred that spread by 0.1."""
    draw = np.random.default_rng(0)
    noise = draw.normal(size=100)
    noise = (noise - noise.mean()) / noise.std()
    wide, narrow = noise[:10] - noise[:10].mean(), noise
    assert is_monotone([mean + 0.5 * wide for mean in (1, 0.3, 0.5)], 1)
    assert not is_monotone([mean + 0.1 * narrow for mean in (1, 0.3, 0.5)], 1)


def response_of(damage: str, fall: float, *, claimed: bool = True, seed: int = 0):
    draw = np.random.default_rng(seed)
    whole = list(draw.normal(1, 0.1, 40))
    return respond(damage, whole, [list(draw.normal(1 - fall * dose, 0.1, 20)) for dose in (0.25, 0.5, 0.75, 1)],
                   higher_is_better=True, claimed=claimed, doses=(1, 2, 3, 4), unit="units", units="images")


def test_a_response_says_from_which_dose_on() -> None:
    strong, none = response_of("hand_warped", 1.0), response_of("hand_warped", 0.0)
    assert strong.auc > 0.98 and strong.monotone and strong.sees_from == 1
    assert 0.3 < none.auc < 0.7 and none.sees_from is None
    assert len(strong.values) == 5 and strong.values[0] == pytest.approx(1, abs=0.05)


def test_units_without_a_value_are_counted_and_not_taken_for_bad_ones() -> None:
    response = respond("hand_warped", [1.0, 0.9], [[None, 0.2], [None, None]], higher_is_better=True, claimed=True, doses=(1, 2),
                       unit="", units="images")
    assert response.unscored == 0.75 and response.auc_by_dose == (1.0, None) and response.sees_from is None


ENTRY = METRICS.get("hand_rate")


def claims(*sees: str):
    return replace(ENTRY, sees=sees)


def test_a_metric_that_sees_what_it_claims_passes() -> None:
    found = summarise(claims("hand_warped"), [response_of("hand_warped", 1.0), response_of("hand_fused_fingers", 0.0, claimed=False)], 0.1)
    assert found.passed and found.why == "" and found.monotone
    assert found.blind_to == ("hand_fused_fingers",) and found.auc["hand_warped"] > 0.9


@pytest.mark.parametrize(("entry", "responses", "why"), [
    (claims("hand_warped"), [response_of("hand_warped", 0.0)], "AUC"),
    (claims("hand_warped"), [response_of("hand_warped", -1.0)], "AUC"),
    (claims("hand_warped", "hand_erased"), [response_of("hand_warped", 1.0)], "hand_erased could not be tested"),
    (claims(), [response_of("hand_warped", 1.0)], "claims to see no damage")])
def test_a_metric_that_does_not_fails_with_the_reason(entry, responses, why: str) -> None:
    found = summarise(entry, responses, 0.1)
    assert not found.passed and why in found.why


def test_what_cannot_be_scored_cannot_pass() -> None:
    """Clearly worse up to the third dose, and without a value at the last; or at two of five units of every dose."""
    draw, doses = np.random.default_rng(0), (1, 2, 3, 4)
    whole = list(draw.normal(1, 0.1, 40))
    by_dose = [list(draw.normal(1 - 0.25 * dose, 0.1, 20)) for dose in doses]

    def summed(values: list) -> object:
        return summarise(claims("hand_warped"), [respond("hand_warped", whole, values, higher_is_better=True, claimed=True, doses=doses,
                                                         unit="", units="images")], 0.1)

    assert summed(by_dose).passed
    for spoiled in ([*by_dose[:3], [None] * 20], [[*values[:12], *[None] * 8] for values in by_dose]):
        assert not summed(spoiled).passed and "without a value" in summed(spoiled).why


@pytest.mark.parametrize(("fall", "passed"), [(0.0, True), (1.0, False)])
def test_a_metric_of_hands_that_minds_edits_beside_them_fails(fall: float, passed: bool) -> None:
    beside = response_of("hand_beside", fall, claimed=False, seed=3).model_copy(update={"units": "hands"})
    found = summarise(claims("hand_warped"), [response_of("hand_warped", 1.0), beside], 0.1)
    assert found.passed is passed and ("traces of an edit" in found.why) is not passed


def test_interval_of_auc_covers_the_truth_and_grows_as_units_share_photographs() -> None:
    """Two normal groups one deviation apart: 0.76. Ten copies of each photograph's value add nothing to what is known."""
    truth, covered, widths = 0.7602, 0, []
    for seed in range(60):
        draw = np.random.default_rng(seed)
        better, worse = draw.normal(1, 1, 24), draw.normal(0, 1, 24)
        names = [f"p{index}" for index in range(48)]
        low, high = auc_interval(Units(tuple(better), tuple(names[:24])), [Units(tuple(worse), tuple(names[24:]))])
        covered += low <= truth <= high
        copies = auc_interval(Units(tuple(np.repeat(better, 10)), tuple(np.repeat(names[:24], 10))),
                              [Units(tuple(np.repeat(worse, 10)), tuple(np.repeat(names[24:], 10)))])
        widths.append((copies[1] - copies[0]) / (high - low))
    assert 50 <= covered <= 60 and np.mean(widths) == pytest.approx(1, abs=0.05)
    assert auc_interval(Units((1.0,), ("a",)), [Units((), ())]) is None


def selftest_of(**metrics) -> SelfTest:
    return SelfTest(created="2026-11-25", sana_bench="0", device="cpu", people=("P1",), metrics=metrics)


@pytest.fixture
def nothing_known(monkeypatch: pytest.MonkeyPatch, tmp_path):
    """No shipped results, an empty cache."""
    monkeypatch.setattr(results_module, "SHIPPED", tmp_path / "shipped.json")
    monkeypatch.setenv("SANA_BENCH_CACHE", str(tmp_path))
    return tmp_path


def test_only_a_passed_test_of_this_very_version_lets_a_metric_judge(nothing_known) -> None:
    assert "no self-test" in why_not_judged(ENTRY)
    passed = summarise(claims("hand_warped"), [response_of("hand_warped", 1.0)], 0.1)
    failed = summarise(claims("hand_warped"), [response_of("hand_warped", 0.0)], 0.1)
    save_selftest(selftest_of(hand_rate=passed), nothing_known / "shipped.json")
    assert why_not_judged(ENTRY) == ""
    assert "no self-test" in why_not_judged(replace(ENTRY, version=ENTRY.version + 1))
    save_selftest(selftest_of(hand_rate=failed), nothing_known / "selftest.json")
    assert why_not_judged(ENTRY).startswith("failed its self-test: hand_warped")


def test_results_of_other_metrics_are_kept(tmp_path) -> None:
    test = summarise(claims("hand_warped"), [response_of("hand_warped", 1.0)], 0.1)
    save_selftest(selftest_of(hand_rate=test), tmp_path / "s.json")
    save_selftest(selftest_of(face_rate=test), tmp_path / "s.json")
    assert set(read_selftest(tmp_path / "s.json").metrics) == {"hand_rate", "face_rate"}


def test_damaged_results_are_one_clear_error(tmp_path) -> None:
    (tmp_path / "s.json").write_text("{")
    with pytest.raises(StoreError, match="damaged.*sana-bench selftest"):
        read_selftest(tmp_path / "s.json")


def test_results_of_another_schema_are_as_none(tmp_path, nothing_known) -> None:
    """An upgrade must not stop at what an older version left in the cache."""
    (nothing_known / "selftest.json").write_text('{"schema_version": 99, "something": "else"}')
    assert read_selftest(nothing_known / "selftest.json") is None
    assert "no self-test" in why_not_judged(ENTRY)


def test_another_calibration_is_another_metric(tmp_path) -> None:
    """Scores, comparisons and self-tests hang on it as on weights."""
    entry, other = METRICS.get("hand_plausibility"), tmp_path / "hand.json"
    assert entry.files
    other.write_bytes(entry.files[0].read_bytes() + b" ")
    assert replace(entry, files=(other,)).extractor_digest() != entry.extractor_digest()
    assert set(METRICS.get("hand_parity").files) == set(entry.files)


@pytest.mark.parametrize(("name", "parts"), [
    ("hand_plausibility", {"hand", "face", "body", "picture"}), ("kid_efficientnet_lite0", {"picture"}), ("fd_efficientnet_lite0", {"picture"}),
    ("kid_hand_crops_efficientnet_lite0", {"hand", "picture"}), ("kid_face_crops_efficientnet_lite0", {"face"}), ("vendi_faces_efficientnet_lite0", set())])
def test_set_metrics_are_fed_pictures_and_what_they_claim_and_what_is_not_kept_only_that(name: str, parts: set[str]) -> None:
    assert {kind.part for kind in kinds_to_test() if is_fed(METRICS.get(name), kind)} == parts


def native_tests(small: float, native: float | None) -> dict[str, object]:
    def test(damage_aucs: tuple[float, ...], claimed: bool):
        response = response_of("picture_blurred", 1.0, claimed=claimed).model_copy(update={"doses": (1.0, 2.0, 4.0, 8.0), "auc_by_dose": damage_aucs})
        return summarise(claims("hand_warped"), [response], 0.1)

    tests = {"fd_efficientnet_lite0": test((0.5, small, 1, 1), False), "kid_efficientnet_lite0": test((0.5, small, 1, 1), False)}
    return tests if native is None else tests | {"kid_patches_efficientnet_lite0": test((0.5, native, 1, 1), True)}


def test_faults_of_2k_pictures_are_read_at_their_dose_from_metrics_that_claim_them() -> None:
    assert native_faults(native_tests(0.4, 0.9))["picture_blurred"] == {
        "kid_patches_efficientnet_lite0": 0.9, "fd_efficientnet_lite0": 0.4, "kid_efficientnet_lite0": 0.4}
    assert list(native_faults(native_tests(0.95, 0.9))["picture_blurred"])[0] == "kid_patches_efficientnet_lite0"
    assert list(native_faults(native_tests(0.4, None))["picture_blurred"]) == ["fd_efficientnet_lite0", "kid_efficientnet_lite0"]
    assert all(FAULTS[fault] in CORRUPTIONS.get(fault).doses for fault in FAULTS)


def test_no_learned_kind_is_ever_tested() -> None:
    names = {kind.name for kind in kinds_to_test()}
    assert names == set(CORRUPTIONS.names()) - LEARNED_KINDS
    assert {name for name in ("hand_warped", "hand_fused_fingers", "hand_missing_finger", "hand_overlong_finger", "hand_added_finger")} < names


def shown_of(person: str, kind: str, *, hands: int = 0, faces: int = 0, poses: int = 0) -> Shown:
    draw = np.random.default_rng(0)
    features = {"hands": {"keypoints": draw.uniform(20, 80, (hands, 21, 2))}, "faces": {"keypoints": draw.uniform(20, 80, (faces, 478, 2))},
                "pose": {"keypoints": draw.uniform(20, 80, (poses, 33, 3))}}
    name = f"{person}-{kind}".lower()
    pixels = draw.integers(0, 255, (100, 100, 3), dtype=np.uint8)
    return Shown(Photograph(name, person, kind, Item(digest_of(name), "text", lambda: pixels)),
                 ScoredSample(sample_id=name, prompt=Prompt(id=name, text="text", expects=Expects(hands=hands, faces=faces)), features=features))


def test_photographs_are_taken_from_all_people_and_faces_of_both_sizes() -> None:
    shown = [shown_of(f"P{person}", kind, hands=2, faces=1, poses=1) for person in range(8) for kind in ("studio_posture", "emotion", "body")]
    shown += [shown_of("P9", "studio_portrait", faces=1)]
    hands, faces = photographs_for("hand", shown), photographs_for("face", shown)
    assert len(hands) == 12 and len({each.photograph.person for each in hands}) == 8
    assert {"studio_posture", "emotion"} <= {each.photograph.kind for each in faces}
    assert all(each.photograph.kind in ("studio_posture", "body") for each in photographs_for("body", shown))


def test_copies_have_names_of_their_own_and_damage_does_something() -> None:
    shown = [shown_of("P1", "studio_posture", hands=2, poses=1)]
    kind = CORRUPTIONS.get("hand_warped")
    copies = [*harmless_copies(shown), *damaged_copies(kind, shown)]
    assert len({copy.item.identity for copy in copies} | {shown[0].photograph.item.identity}) == len(copies) + 1 == len(HARMLESS) + len(kind.doses) + 1
    whole = shown[0].photograph.item.load()
    for copy in copies:
        assert not np.array_equal(copy.item.load(), whole) and np.array_equal(copy.item.load(), copy.item.load())
    assert [copy.level for copy in damaged_copies(kind, shown)] == [1, 2, 3, 4]


def samples_of(classes: str) -> list[ScoredSample]:
    """One image a letter: f or m."""
    face = np.tile(np.array([[[0.0, 0.0], [10.0, 10.0]]]), (1, 239, 1))
    return [ScoredSample(sample_id=f"s{index}", prompt=Prompt(id=f"p{index}", text=f"text {index}"), features={
        "faces": {"keypoints": face},
        "attributes": {"feminine": np.array([0.9 if letter == "f" else 0.1], np.float32), "age": np.array([20.0 + 20 * (index % 2)])},
        "skin_tone": {"monk": np.array([3 + 5 * (index % 2)])}, "clip_tiny": {"image": np.ones(2), "text": np.full(2, index), "truncated": np.zeros(1)}})
        for index, letter in enumerate(classes)]


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_of_no_dose_changes_nothing_and_keeps_the_number(name: str) -> None:
    samples = samples_of("ffmmfm")
    damaged = {sample.sample_id: replace(sample, features={}) for sample in samples}
    assert SCENARIOS[name].apply(samples, damaged, 0.0, np.random.default_rng(0)) == samples
    assert len(SCENARIOS[name].apply(samples, damaged, 1.0, np.random.default_rng(0))) == 6
    assert SCENARIOS[name].explanation.endswith(".")


def test_a_class_that_everybody_is_of_cannot_be_tested() -> None:
    assert SCENARIOS["one_gender"].apply(samples_of("ffff"), {}, 1.0, np.random.default_rng(0)) is None


def test_scenarios_do_what_they_say() -> None:
    samples, draw = samples_of("ffmmfm"), np.random.default_rng(0)
    damaged = {sample.sample_id: replace(sample, features={**sample.features, "broken": {}}) for sample in samples}
    assert len({id(sample.features) for sample in SCENARIOS["set_collapsed"].apply(samples, {}, 1.0, draw)}) == 1
    swapped = SCENARIOS["captions_swapped"].apply(samples, {}, 1.0, draw)
    assert all(after.features["clip_tiny"]["text"][0] != before.features["clip_tiny"]["text"][0] for before, after in zip(samples, swapped, strict=True))
    one = SCENARIOS["one_gender"].apply(samples, {}, 1.0, draw)
    assert len({float(sample.features["attributes"]["feminine"][0]) for sample in one}) == 1
    hit = ["broken" in sample.features for sample in SCENARIOS["one_group_damaged"].apply(samples, damaged, 1.0, draw)]
    assert hit in ([True, True, False, False, True, False], [False, False, True, True, False, True])


def test_without_names_it_tests_what_needs_no_weights_by_name(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gathered(Exception):
        """Stops the test once it is known what it is of."""

    def gather(entries, *_):
        raise Gathered([entry.name for entry in entries])

    monkeypatch.setattr("sana_bench.selftest.run.gather", gather)
    with pytest.raises(Gathered) as all_of_them:
        run_selftest((), Store(tmp_path), "cpu")
    assert all_of_them.value.args[0] == [name for name in METRICS.names() if METRICS.get(name).always_here and METRICS.get(name).service is None]
    assert "fid" not in all_of_them.value.args[0] and "kid_efficientnet_lite0" in all_of_them.value.args[0]
    with pytest.raises(Gathered) as named:
        run_selftest(("fid", "kid_inception_v3"), Store(tmp_path), "cpu")
    assert named.value.args[0] == ["fid", "kid_inception_v3"]
