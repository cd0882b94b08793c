"""vlm_preference_*: what is sent and when, what a value means, and that only a judge which passes its self-test and controls may decide."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_bench.cli import main
from sana_bench.config import RunConfig
from sana_bench.corruptions import CORRUPTIONS, corrupt
from sana_bench.errors import ConfigError
from sana_bench.extract import Item
from sana_bench.features import EXTRACTORS, View
from sana_bench.judge.endpoint import API_KEY, MODEL, URL
from sana_bench.judge.questions import QUESTIONS
from sana_bench.metrics import METRICS, MetricContext, ScoredSample, Unscored, usual_metrics
from sana_bench.prompts import Expects, Prompt, Target
from sana_bench.score import evaluate_metric
from sana_bench.selftest import results as results_module
from sana_bench.selftest.damage import damaged_copies, harmless_copies
from sana_bench.selftest.photographs import Photograph, Shown
from sana_bench.selftest.results import SelfTest, save_selftest, summarise, why_not_judged
from sana_bench.selftest.run import Material, controls_of, is_fed, responses_of, entries_to_test
from sana_bench.shipped import cache_folder
from sana_bench.store import digest_of
from tests.judge_server import JudgeServer, always_first, always_tie, judge_server, prefers_sharper, says

NAMES = [f"vlm_preference_{aspect}" for aspect in QUESTIONS]
EVERYTHING = Expects(faces=1, hands=2, full_body=True)
NO_TARGET = Target()


def features_of(pixels_HW3: np.ndarray) -> dict:
    return {"judge_image": EXTRACTORS.get("judge_image").make("cpu").extract(View(pixels_HW3, ""), {})}


def picture(seed: int, side: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (side, side, 3), dtype=np.uint8)


def sample(number: int, pixels_HW3: np.ndarray, expects: Expects = EVERYTHING) -> ScoredSample:
    return ScoredSample(sample_id=f"p{number}_000", prompt=Prompt(id=f"p{number}", text=f"person {number}", expects=expects), features=features_of(pixels_HW3))


def context_of(*pictures: np.ndarray) -> MetricContext:
    return MetricContext(reference=[], target=NO_TARGET, base={f"p{number}_000": features_of(each) for number, each in enumerate(pictures)})


def use(server: JudgeServer, monkeypatch: pytest.MonkeyPatch, model: str = "stub") -> None:
    for name, value in {URL: server.endpoint.url, MODEL: model, API_KEY: "sk-very-secret-1234"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(autouse=True)
def no_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine that runs the tests has set."""
    for name in (URL, MODEL, API_KEY):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("size", "expected"), [((2048, 2048), (1536, 1536)), ((1024, 2048), (768, 1536)), ((640, 480), (640, 480))])
def test_the_judge_is_shown_the_whole_picture_at_a_stated_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    ramp = np.linspace(0, 255, size[0] * size[1], dtype=np.float32).reshape(size[1], size[0], 1).repeat(3, axis=2).astype(np.uint8)
    shown = Image.open(io.BytesIO(features_of(ramp)["judge_image"]["jpeg"].tobytes()))
    assert (shown.format, shown.size) == ("JPEG", expected)
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(Image.fromarray(ramp).resize(expected, Image.Resampling.LANCZOS))).mean() < 1.5


def test_it_is_off_until_somebody_asks_for_it() -> None:
    assert not set(NAMES) & set(usual_metrics())
    for name in NAMES:
        with pytest.raises(ConfigError, match=f"no judge is set.*{URL}"):
            METRICS.get(name).make(context_of())


@pytest.mark.parametrize("command", [
    ("score", "--images", "{folder}", "--set", 'score.metrics=["vlm_preference_hands"]'), ("selftest", "vlm_preference_hands"),
    ("train-and-eval", "--set", 'score.metrics=["vlm_preference_hands"]')])
def test_without_an_endpoint_a_command_ends_before_any_work(command: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(picture(0)).save(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a person"}')
    settings = ("--set", f"run.store={tmp_path / 'store'}", "--set", f"run.reports={tmp_path}")
    assert main([*(word.format(folder=tmp_path) for word in command), *settings]) == 2
    *before, last = capfd.readouterr().err.splitlines()
    assert last.startswith("sana-bench: error: no judge is set") and URL in last and not any("error" in line for line in before)
    assert not (tmp_path / "store" / "features").exists() and not (tmp_path / "store" / "checkpoints").exists()


def test_the_sharper_image_wins_against_the_bases_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sharp, soft = picture(0), picture(0) // 2 + 64
    with judge_server(prefers_sharper) as server:
        use(server, monkeypatch)
        metric = METRICS.get("vlm_preference_overall").make(context_of(soft, sharp, soft))
        assert [metric.score(sample(number, pixels)) for number, pixels in enumerate([sharp, soft])] == [1.0, 0.0]
        asked = len(server.asked)
        assert metric.score(sample(2, soft)) == 0.5 and len(server.asked) == asked == 4, "the base's own image is not sent"
        assert all(text in asked.words for asked in server.asked for text in (QUESTIONS["overall"], "person"))


@pytest.mark.parametrize(("aspect", "expects", "asked"), [
    ("hands", Expects(faces=1, hands=0), False), ("hands", Expects(hands=1), True), ("faces", Expects(faces=0), False), ("faces", Expects(faces=2), True),
    ("bodies", Expects(faces=1, hands=2), False), ("bodies", EVERYTHING, True), ("overall", Expects(faces=0), True)])
def test_only_what_a_prompt_lets_one_expect_is_asked_about(aspect: str, expects: Expects, asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with judge_server(always_tie) as server:
        use(server, monkeypatch)
        found = METRICS.get(f"vlm_preference_{aspect}").make(context_of(picture(1))).score(sample(0, picture(0), expects))
    assert (found == 0.5 and len(server.asked) == 2) if asked else (found == Unscored(f"no {aspect} expected") and not server.asked)


def test_an_image_without_one_of_the_base_is_unscored_and_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with judge_server(always_tie) as server:
        use(server, monkeypatch)
        found = METRICS.get("vlm_preference_hands").make(context_of()).score(sample(0, picture(0)))
    assert isinstance(found, Unscored) and "base model has no image" in found.reason and not server.asked


def test_results_name_the_model_count_what_was_not_answered_and_hold_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five images the judge wins one, loses one, gives no answer on one, contradicts itself on one; one shows no hands."""
    def answer(asked):
        if "person 2" in asked.words:
            return says("I cannot tell")
        return always_first(asked) if "person 3" in asked.words else prefers_sharper(asked)

    entry, sharp, soft = METRICS.get("vlm_preference_hands"), picture(0), picture(0) // 2 + 64
    samples = [sample(number, pixels) for number, pixels in enumerate([sharp, soft, sharp, sharp])] + [sample(4, sharp, Expects(faces=1))]
    with judge_server(answer) as server:
        use(server, monkeypatch, "vlm-of-mine")
        rows, _, result = evaluate_metric(entry, entry.make(context_of(soft, sharp, soft, soft, soft)), samples, RunConfig(name="t"))
        assert entry.service.identity().startswith("vlm-of-mine, question ")
    assert [row.value for row in rows] == [1.0, 0.0, None, 0.5, None] and result.value == 0.5
    assert result.unscored_reasons == {"the judge gave no answer in the form asked for": 1, "no hands expected": 1}
    assert result.beside == {"share of pairs whose two orders disagree": pytest.approx(1 / 3)}
    assert result.not_judged and len(server.asked) == 8 and "very-secret" not in result.model_dump_json()


def test_another_model_is_another_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """Baselines, results and self-tests hang on it as on weights; the address does not matter, nor does the key."""
    entry, digests = METRICS.get("vlm_preference_hands"), []
    for url, model, key in (("http://127.0.0.1:1/v1", "one", "k"), ("http://127.0.0.1:2/v1", "one", "l"), ("http://127.0.0.1:1/v1", "two", "k")):
        for name, value in {URL: url, MODEL: model, API_KEY: key}.items():
            monkeypatch.setenv(name, value)
        digests.append(entry.extractor_digest())
    assert digests[0] == digests[1] != digests[2]


BLUR = CORRUPTIONS.get("picture_blurred")
ENTRY = replace(METRICS.get("vlm_preference_overall"), sees=("picture_blurred",))


@pytest.fixture(scope="module")
def material() -> Material:
    """Eight pictures with blurred and harmless copies, as the self-test would gather them."""
    shown = []
    for number in range(8):
        pixels = picture(number)
        photograph = Photograph(f"photo-{number}", "P1", "studio_posture", Item(digest_of(number), f"person {number}", lambda pixels=pixels: pixels))
        prompt = Prompt(id=photograph.id, text=photograph.item.prompt, expects=EVERYTHING)
        shown.append(Shown(photograph, ScoredSample(sample_id=photograph.id, prompt=prompt, features=features_of(pixels))))
    copies = [*harmless_copies(shown), *damaged_copies(BLUR, shown)]
    samples = [replace(copy.shown.sample, features=features_of(copy.item.load())) for copy in copies]
    context = MetricContext(reference=[], target=NO_TARGET, base={each.sample.sample_id: each.sample.features for each in shown})
    return Material(shown, shown, list(zip(copies, samples, strict=True)), {}, context)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SANA_BENCH_CACHE", str(tmp_path))
    return tmp_path


def self_test(material: Material):
    """As `sana-bench selftest` makes and keeps it."""
    found = summarise(ENTRY, responses_of(ENTRY, material), 0.0, controls_of(ENTRY, material))
    save_selftest(SelfTest(created="2026-11-25", sana_bench="0", device="cpu", people=("P1",), metrics={ENTRY.name: found}), results_module.own_file())
    return found


def test_an_honest_judge_passes_its_controls_and_may_decide_and_another_model_may_not(
        material: Material, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with judge_server(prefers_sharper) as server:
        use(server, monkeypatch, "honest")
        assert "no self-test" in why_not_judged(ENTRY)
        found = self_test(material)
        assert found.passed and found.auc["picture_blurred"] >= 0.85 and found.monotone and [each.share for each in found.controls] == [1, 1]
        assert [response.damage for response in found.responses] == ["picture_blurred"]
        assert why_not_judged(ENTRY) == ""
        use(server, monkeypatch, "another")
        assert "no self-test" in why_not_judged(ENTRY)


@pytest.mark.parametrize(("answer", "why"), [
    (always_first, ("AUC 0.50", "same picture twice is a tie in 0% of 8", "same answer in 0% of 16")), (always_tie, ("AUC 0.50",)),
    (lambda asked: says("I prefer A"), ("could not be tested", "in 0% of 8", "in 0% of 16"))])
def test_a_judge_that_does_not_look_fails_and_decides_nothing(answer, why: tuple[str, ...], material: Material, own_cache: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """One that always says A has a tie on every pair, since its orders never agree."""
    with judge_server(answer) as server:
        use(server, monkeypatch)
        found = self_test(material)
        assert not found.passed and all(part in found.why for part in why)
        assert all(value in (0.5, None) for response in found.responses for value in response.values)
        assert why_not_judged(ENTRY).startswith("failed its self-test: ")


def test_a_judge_that_prefers_the_damaged_fails(material: Material, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Consistent and sure, and wrong: controls alone would let it pass."""
    def prefers_softer(asked):
        swap = {"A": "B", "B": "A", "tie": "tie"}
        told = prefers_sharper(asked)
        return replace(told, body=told.body.replace('\\"choice\\": \\"A\\"', '\\"choice\\": \\"?\\"').replace(
            '\\"choice\\": \\"B\\"', f'\\"choice\\": \\"{swap["B"]}\\"').replace('\\"choice\\": \\"?\\"', f'\\"choice\\": \\"{swap["A"]}\\"'))

    with judge_server(prefers_softer) as server:
        use(server, monkeypatch)
        found = self_test(material)
    assert not found.passed and found.auc["picture_blurred"] < 0.2 and [each.share for each in found.controls] == [1, 1]


def test_the_self_test_asks_it_only_where_it_is_named_and_about_what_it_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not set(NAMES) & {entry.name for entry in entries_to_test(())}
    with pytest.raises(ConfigError, match="no judge is set"):
        entries_to_test(("face_rate", "vlm_preference_hands"))
    with judge_server(always_tie) as server:
        use(server, monkeypatch)
        assert [entry.name for entry in entries_to_test(NAMES)] == NAMES
    hands = METRICS.get("vlm_preference_hands")
    assert {name for name in CORRUPTIONS.names() if is_fed(hands, CORRUPTIONS.get(name))} == set(hands.sees)
    assert all(is_fed(METRICS.get("hand_rate"), CORRUPTIONS.get(name)) for name in CORRUPTIONS.names())


@pytest.mark.weights
def test_two_folders_are_compared_by_a_judge_that_has_passed_and_shown_by_one_that_has_not(
        material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Eight blurred pictures against the sharp ones. The key is in no file of it all."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "assets").symlink_to(cache_folder() / "assets")
    monkeypatch.setenv("SANA_BENCH_CACHE", str(cache))
    for name, damage in (("sharp", lambda pixels: pixels), ("blurred", lambda pixels: corrupt(BLUR.name, pixels, np.empty((0, 2)), 2, (0,)))):
        (tmp_path / name).mkdir()
        for number in range(8):
            Image.fromarray(damage(picture(number))).save(tmp_path / name / f"{number}.png")
        (tmp_path / name / "metadata.jsonl").write_text("\n".join(f'{{"file_name": "{number}.png", "text": "person {number}"}}' for number in range(8)))
    command = ["score", "--images", str(tmp_path / "blurred"), "--against", str(tmp_path / "sharp"), "--json", "--set", f"run.store={tmp_path / 'store'}",
               "--set", f"run.reports={tmp_path / 'reports'}", "--set", 'score.metrics=["vlm_preference_overall"]']
    with judge_server(prefers_sharper) as server:
        use(server, monkeypatch, "honest")
        assert main(command) == 0
        shown = json.loads(capfd.readouterr().out)
        assert len(server.asked) == 16, "each pair in both orders, and none for the baseline, which is the base"
        self_test(material)
        asked = len(server.asked)
        assert main(command) == 1
        judged = json.loads(capfd.readouterr().out)
        assert len(server.asked) == asked, "its answers were kept"
    (before,), (after,) = shown["verdicts"], judged["verdicts"]
    assert (before["outcome"], after["outcome"]) == ("inconclusive", "regressed")
    assert "no self-test" in before["reason"] and before["difference"] == after["difference"] == -0.5
    page = (Path(judged["run_dir"]) / "report.html").read_text()
    assert "Beside it, share of pairs whose two orders disagree: 0" in page and "service of vlm_preference_overall" in page and "honest, question" in page
    assert "control" in page and not [path for path in tmp_path.rglob("*") if path.is_file() and b"very-secret" in path.read_bytes()]
