"""A LoRA's model card: the hub's own loader reads back what the records say, in both formats; nothing of a text is more than text."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cmarkgfm
import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from PIL import Image

from sana_bench.cli import main
from sana_bench.errors import ConfigError, ReportError, StoreError
from sana_bench.export.card import CARD_FILE, RESULTS_FILE, WEIGHTS_FILE, CardOptions, export_card
from sana_bench.records import BenchmarkResult, Checkpoint
from sana_bench.shipped import PACKAGE
from sana_bench.store import read_record, write_record
from tests.hub_server import hub_server
from tests.report_fixture import HOSTILE, make_run, make_suite

LORA = b"not read, only copied"
HUB_BASE = "Efficient-Large-Model/Sana_1600M_2Kpx_BF16_diffusers"


@pytest.fixture
def run_dir(tmp_path) -> Path:
    """A finished run with a guard suite, its baseline in it, and its LoRA in a store."""
    report, folder, baseline = make_run(tmp_path / "run", make_suite(6), guard=True)
    shutil.copytree(baseline, folder / "baseline")
    write_record(folder / "regression.json", report)
    store = tmp_path / "store"
    (store / "checkpoint" / "cccc").mkdir(parents=True)
    (store / "checkpoint" / "cccc" / "lora.safetensors").write_bytes(LORA)
    change(folder / "checkpoint.json", Checkpoint, weights_file="lora.safetensors", weights_sha256=hashlib.sha256(LORA).hexdigest())
    change(folder / "result.json", BenchmarkResult, config={"name": "tiny", "train": {"max_train_steps": 300}, "run": {"store": str(store)},
                                                            "data": {"training": "/home/somebody/private"}})
    return folder


def change(path: Path, record, **changes) -> None:
    write_record(path, read_record(path, record).model_copy(update=changes))


def card(run_dir: Path, out: Path, **options) -> ModelCard:
    export_card(run_dir, out, CardOptions(**options))
    return ModelCard.load(out / CARD_FILE)


def measured(run_dir: Path) -> dict[tuple[str, str], float]:
    results = [read_record(folder / "result.json", BenchmarkResult) for folder in (run_dir, run_dir / "guard")]
    return {(f"sana-bench/{result.suite}", each.metric): each.value for result in results for each in result.results if each.value is not None}


def test_the_hubs_loader_reads_the_results_back_in_both_formats(run_dir, tmp_path):
    loaded = card(run_dir, tmp_path / "card")
    expected = measured(run_dir)
    assert len(expected) == 14, "seven metrics on either suite"
    assert {(each.dataset_type, each.metric_type): each.metric_value for each in loaded.data.eval_results} == expected
    entries = parse_eval_result_entries(yaml.safe_load((tmp_path / "card" / RESULTS_FILE).read_text()))
    assert {(each.dataset_id, each.task_id): each.value for each in entries} == expected
    regressed = next(each for each in entries if (each.dataset_id, each.task_id) == ("sana-bench/humans_test", "hand_shape_deviation"))
    assert "against baseline tiny" in regressed.notes and regressed.notes.endswith("regressed") and regressed.date == "2026-11-24T06:00:00Z"
    legacy = next(each for each in loaded.data.eval_results if each.metric_type == "hand_shape_deviation")
    assert legacy.metric_args["verdict"] == "regressed" and legacy.metric_args["extractor_digest"] == "ee55" and legacy.task_type == "text-to-image"


def test_the_front_matter_says_what_it_is(run_dir, tmp_path):
    data = card(run_dir, tmp_path / "card", license="apache-2.0", base_model=HUB_BASE).data
    assert (data.license, data.pipeline_tag, data.base_model, data.base_model_relation, data.library_name) == (
        "apache-2.0", "text-to-image", HUB_BASE, "adapter", "diffusers")
    assert {"lora", "sana", "text-to-image"} <= set(data.tags)
    bare = card(run_dir, tmp_path / "bare").data
    assert bare.license is None and bare.base_model is None, "tiny-sana is no id of the hub, and nobody chose a licence"
    assert "No licence was stated" in (tmp_path / "bare" / CARD_FILE).read_text()


def test_the_base_of_the_recipe_is_named_where_it_is_one_of_the_hub(run_dir, tmp_path):
    change(run_dir / "checkpoint.json", Checkpoint, base=HUB_BASE)
    result = read_record(run_dir / "result.json", BenchmarkResult)
    write_record(run_dir / "result.json", result.model_copy(update={"config": {**result.config, "model": {"base": HUB_BASE, "revision": "b" * 40}}}))
    assert card(run_dir, tmp_path / "card", with_weights=True).data.base_model == HUB_BASE
    code = re.search(r"```python\n(.*?)```", (tmp_path / "card" / CARD_FILE).read_text(), re.DOTALL)[1]
    compile(code, "card", "exec")
    assert f'"{HUB_BASE}", revision="{"b" * 40}"' in code and WEIGHTS_FILE in code


def test_a_data_set_of_the_hub_takes_the_place_of_our_name(run_dir, tmp_path):
    loaded = card(run_dir, tmp_path / "card", dataset="me/my-suite")
    assert {each.dataset_type for each in loaded.data.eval_results} == {"me/my-suite", "sana-bench/guard_test"}
    entries = parse_eval_result_entries(yaml.safe_load((tmp_path / "card" / RESULTS_FILE).read_text()))
    assert {each.dataset_id for each in entries} == {"me/my-suite", "sana-bench/guard_test"}


def test_the_card_says_verdict_method_and_limits_and_no_path(run_dir, tmp_path):
    card(run_dir, tmp_path / "card")
    text = (tmp_path / "card" / CARD_FILE).read_text()
    for part in ("**▼ regressed**", "| hand_shape_deviation ↓ |", "### guard_test", "2,000 resamples", "6 images of 6 prompts", "| hand_rate | 1 | hands | ee55 |",
                 "One fine-tune was measured", "300 steps", "2 of 14 verdicts are inconclusive"):
        assert part in text, part
    assert str(tmp_path) not in text and "/home/somebody" not in text and "private" not in text


def test_no_folder_that_a_setting_names_is_published(run_dir, tmp_path):
    """Of the baseline, of settings that a reason quotes, of either side; what lies in the folder keeps its name."""
    baseline, reference, suite = "/home/alice/secret-client/mine", "../our clients/faces", "C:\\secret\\suite.toml"
    report = json.loads((run_dir / "regression.json").read_text())
    reasons = (f"score with those of the baseline (--set 'data.reference=\"{reference}\"')", f"draw that suite ({suite})")
    verdicts = [{**each, "reason": reason} for each, reason in zip(report["verdicts"], reasons, strict=False)]
    gates = [{**verdicts[0], "gate": "hands", "passed": False}]
    (run_dir / "regression.json").write_text(json.dumps({**report, "baseline_name": baseline, "headline": f'Held against "{baseline}".', "gates": gates,
                                                         "verdicts": [*verdicts, *report["verdicts"][2:]]}))
    change(run_dir / "baseline" / "result.json", BenchmarkResult, config={"data": {"reference": reference}, "score": {"suite": suite}})
    files = export_card(run_dir, tmp_path / "card", CardOptions(pictures=1))
    texts = {name: (tmp_path / "card" / name).read_text() for name in files if not name.endswith((".jpg", ".png", ".webp"))}
    assert set(texts) == {CARD_FILE, RESULTS_FILE}
    for text in texts.values():
        assert not re.search("alice|secret|our clients", text)
    assert "baseline mine" in texts[CARD_FILE] and 'Held against "mine"' in texts[CARD_FILE] and "faces" in texts[CARD_FILE] and "suite.toml" in texts[CARD_FILE]
    assert "against baseline mine (" in texts[RESULTS_FILE]


def test_a_lora_made_elsewhere_and_gates_are_said(run_dir, tmp_path):
    report = json.loads((run_dir / "regression.json").read_text())
    report["gates"] = [{**report["verdicts"][1], "gate": "hands there", "passed": False, "num_training_seeds": 3}]
    (run_dir / "regression.json").write_text(json.dumps(report))
    change(run_dir / "checkpoint.json", Checkpoint, summary=None, trainer="external", base="/home/somebody/models/my-sana")
    card(run_dir, tmp_path / "card")
    text = (tmp_path / "card" / CARD_FILE).read_text()
    assert "trained elsewhere" in text and "### Gates" in text and "spread between 3 fine-tunes" in text
    assert "my-sana" in text and "/home/somebody" not in text, "of a folder only its name"


def test_hostile_texts_are_inert(run_dir, tmp_path):
    hostile = f"{HOSTILE}\n---\nlicense: mit\n---\n# Owned"
    report = json.loads((run_dir / "regression.json").read_text())
    report |= {"headline": hostile, "baseline_name": hostile}
    for each in report["verdicts"]:
        each |= {"reason": hostile, "unit": hostile}
    (run_dir / "regression.json").write_text(json.dumps(report))
    result = json.loads((run_dir / "result.json").read_text())
    result |= {"name": hostile, "suite_digest": hostile, "sampling": {hostile: hostile}}
    result["provenance"] |= {"created": hostile, "device": hostile, "packages": {hostile: hostile}}
    for each in result["results"]:
        each |= {"explanation": hostile, "extractor": hostile, "extractor_digest": hostile, "not_judged": hostile}
    (run_dir / "result.json").write_text(json.dumps(result))
    change(run_dir / "checkpoint.json", Checkpoint, base=hostile, base_digest=hostile, weights_sha256=hostile)
    loaded = card(run_dir, tmp_path / "card", license=hostile)
    assert loaded.data.license != "mit" and loaded.data.eval_results and loaded.data.pipeline_tag == "text-to-image"
    page = cmarkgfm.github_flavored_markdown_to_html(loaded.text)
    assert not re.search(r"<(script|img|a|code)[ >]", page) and "@me" not in page and page.count("<h1>") == 1
    heads = {line.count("|") for line in loaded.text.splitlines() if line.startswith("| metric ")}
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in loaded.text.splitlines() if line.startswith("| ")} <= heads
    assert parse_eval_result_entries(yaml.safe_load((tmp_path / "card" / RESULTS_FILE).read_text()))


def test_the_weights_are_those_that_were_measured(run_dir, tmp_path):
    card(run_dir, tmp_path / "card", with_weights=True)
    assert (tmp_path / "card" / WEIGHTS_FILE).read_bytes() == LORA
    path = tmp_path / "store" / "checkpoint" / "cccc" / "lora.safetensors"
    path.write_bytes(LORA + b"!")
    with pytest.raises(StoreError, match="is not what was measured"):
        card(run_dir, tmp_path / "other", with_weights=True)
    path.unlink()
    with pytest.raises(StoreError, match="are not in the store .*--with-weights"):
        card(run_dir, tmp_path / "other", with_weights=True)
    assert not (tmp_path / "other").exists()


def test_pictures_are_the_worst_and_the_median_pairs(run_dir, tmp_path):
    card(run_dir, tmp_path / "card", pictures=1)
    text = (tmp_path / "card" / CARD_FILE).read_text()
    shown = re.findall(r"!\[(.*?)\]\((images/.*?)\)", text)
    assert [kind for kind, _ in shown] == ["lost most", "median"] and shown[0][1] == "images/p0_0.webp", "the fixture's first pair lost most"
    for _, name in shown:
        with Image.open(tmp_path / "card" / name) as picture:
            assert picture.size == (2 * 512 + 8, 512)
            left, right = picture.getpixel((256, 256)), picture.getpixel((512 + 8 + 256, 256))
        assert left[2] > right[2] + 50, "the fixture paints baselines bluer: they are on the left"
    shutil.rmtree(run_dir / "baseline")
    with pytest.raises(ReportError, match="no pairs to show"):
        card(run_dir, tmp_path / "alone", pictures=1)


@pytest.mark.parametrize("value", ["one", "a/b/c", "../x", "https://hub/x/y", "a b/c", "/x"])
def test_what_is_no_id_of_the_hub_is_refused(run_dir, tmp_path, value):
    for option in ("base_model", "dataset"):
        with pytest.raises(ConfigError, match="OWNER/NAME"):
            card(run_dir, tmp_path / "card", **{option: value})


def test_a_run_without_a_lora_has_no_card(run_dir, tmp_path):
    change(run_dir / "checkpoint.json", Checkpoint, kind="base", trainer="images")
    with pytest.raises(ReportError, match="no LoRA but images made elsewhere"):
        card(run_dir, tmp_path / "card")
    change(run_dir / "checkpoint.json", Checkpoint, kind="base", trainer="none")
    with pytest.raises(ReportError, match="checkpoint of kind base"):
        card(run_dir, tmp_path / "card")


def test_a_card_that_is_there_stays_unless_forced(run_dir, tmp_path):
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / CARD_FILE).write_text("mine")
    with pytest.raises(ReportError, match="is there already.*--force"):
        card(run_dir, tmp_path / "card")
    assert (tmp_path / "card" / CARD_FILE).read_text() == "mine" and not (tmp_path / "card" / ".eval_results").exists()
    assert card(run_dir, tmp_path / "card", force=True).data.eval_results


# what leaves the machine

def export(run_dir: Path, out: Path, address: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command, with the network allowed and the hub at that address."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SANA_BENCH_OFFLINE"))}
    return subprocess.run([sys.executable, "-m", "sana_bench", "export", "card", str(run_dir), "--out", str(out), *words], capture_output=True, text=True, check=False,
                          env={**clean, "PYTHONPATH": str(PACKAGE.parent), "HF_ENDPOINT": address, "HF_TOKEN": "hf_test", "HF_HUB_DISABLE_XET": "1",
                               "HF_HOME": str(out.parent / "hf"), **environment})


def test_nothing_is_sent_without_push(run_dir, tmp_path):
    with hub_server() as hub:
        done = export(run_dir, tmp_path / "card", hub.address, "--with-weights", "--pictures", "1")
    assert done.returncode == 0 and "nothing was sent" in done.stdout, done.stderr
    assert hub.requests == [] and (tmp_path / "card" / CARD_FILE).exists()


@pytest.mark.parametrize(("words", "private"), [((), True), (("--public",), False)])
def test_push_uploads_the_cards_files_and_no_others_privately(run_dir, tmp_path, words, private):
    (tmp_path / "card").mkdir()
    (tmp_path / "card" / "diary.txt").write_text("mine")
    with hub_server() as hub:
        done = export(run_dir, tmp_path / "card", hub.address, "--with-weights", "--push", "me/lora", *words)
    assert done.returncode == 0, done.stderr
    assert set(hub.files) == {CARD_FILE, RESULTS_FILE, WEIGHTS_FILE}
    assert all(content == (tmp_path / "card" / name).read_bytes() for name, content in hub.files.items())
    assert list(hub.repositories) == ["me/lora"]
    asked = hub.repositories["me/lora"]
    assert (asked.get("private") or asked.get("visibility") == "private") == private
    assert f"pushed: {hub.address}/me/lora/commit/" in done.stdout


def test_a_hub_that_refuses_is_one_error_and_the_card_stays(run_dir, tmp_path):
    with hub_server() as hub:
        hub.refuses = True
        done = export(run_dir, tmp_path / "card", hub.address, "--push", "me/lora")
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("sana-bench: error: me/lora was not pushed") == 1 and "Traceback" not in done.stderr
    assert (tmp_path / "card" / CARD_FILE).exists() and hub.files == {}


@pytest.mark.parametrize("variable", ["SANA_BENCH_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_pushed_or_written(run_dir, tmp_path, variable):
    with hub_server() as hub:
        done = export(run_dir, tmp_path / "card", hub.address, "--push", "me/lora", **{variable: "1"})
    assert (done.returncode, done.stdout) == (2, "") and f"{variable}=1 forbids the network" in done.stderr
    assert hub.requests == [] and not (tmp_path / "card").exists()


@pytest.mark.parametrize(("words", "part"), [(["--public"], "--public belongs to --push"), (["--pictures", "-1"], "not -1"), (["--push", "mine"], "OWNER/NAME")])
def test_a_wrong_command_is_one_error(run_dir, tmp_path, capfd, words, part):
    assert main(["export", "card", str(run_dir), "--out", str(tmp_path / "card"), *words]) == 2
    out, err = capfd.readouterr()
    assert out == "" and part in err and not (tmp_path / "card").exists()
