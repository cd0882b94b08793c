"""The doctor: what is wrong is found, named and given a remedy; what is right is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sana_bench import doctor
from sana_bench.config import RunConfig, load_config
from sana_bench.doctor import CHECKS, Check, Diagnosis, Finding, check_packages, examine
from sana_bench.errors import ConfigError, DataError, ModelError


def finding(name: str, *overrides: str) -> Finding:
    return CHECKS[name](load_config("tiny", overrides))


def test_absent_assets_can_be_pulled_unless_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANA_BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("SANA_BENCH_OFFLINE")
    assert finding("assets").state == "note" and "sana-bench assets pull" in finding("assets").remedy
    monkeypatch.setenv("SANA_BENCH_OFFLINE", "1")
    assert finding("assets").state == "missing" and "openpeople" in finding("assets").found
    assert list(tmp_path.iterdir()) == []


def test_an_optional_asset_is_missed_where_a_metric_of_the_recipe_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANA_BENCH_CACHE", str(tmp_path))
    assert "inception" not in finding("assets").found
    asked = finding("assets", 'score.extra_metrics=["fid"]')
    assert "inception_v3_fid" in asked.found and asked.remedy.startswith("sana-bench assets pull ") and "inception_v3_fid" in asked.remedy


def test_a_hub_base_needs_a_commit() -> None:
    unpinned = finding("base model", "model.base=owner/name")
    assert unpinned.state == "missing" and "model.revision" in unpinned.remedy
    pinned = finding("base model", "model.base=owner/name", f"model.revision={'0' * 40}")
    assert pinned.state == "missing" and "not fetched" in pinned.found


def test_a_source_that_is_mixed_in_is_looked_at_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data source"):
        finding("data", f'data.mix=[{{source="{tmp_path / "nothing"}",share=0.3}}]')
    with pytest.raises(DataError, match="source openpeople:reference of training .* share P002"):
        finding("data", 'data.mix=[{source="openpeople:reference",share=0.3}]')
    assert "openpeople:training " in finding("data", 'data.mix=[{source="openpeople:training",share=0.3}]').found


def test_what_training_needs_is_found_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = doctor._is_installed
    monkeypatch.setattr(doctor, "_is_installed", lambda package: package != "bitsandbytes" and installed(package))
    asked = finding("training", "train.optimizer=adamw_8bit")
    assert asked.state == "missing" and "pip install bitsandbytes" in asked.remedy
    assert finding("training", "train.optimizer=adamw_8bit", "train.trainer=none").state == "ok"
    assert finding("training", "train.num_processes=2", "run.device=cpu").state == "ok"
    monkeypatch.setattr("sana_bench.models.resolve_device", lambda device: "mps")  # no machine of the tests has one
    with pytest.raises(ConfigError, match="num_processes is 2"):
        finding("training", "train.num_processes=2")


@pytest.mark.parametrize(("overrides", "part"), [
    (("train.trainer=external", "train.weights=/nowhere.safetensors"), "train.weights must name"), (("train.trainer=lorra",), 'Did you mean "lora"'),
    (("train.aspect_ratio_buckets=true", "train.resolution=768"), "none at 768"), (('data.balance=[{group="gender=fem", min_share=0.5}]',), "gender=fem"),
    (("train.optimizer=came", "train.num_processes=2", "train.strategy=fsdp2"), "cut among processes")])
def test_what_training_would_refuse_is_refused(overrides: tuple[str, ...], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        finding("training", *overrides)


def test_a_command_that_is_not_there_is_missing() -> None:
    command = ("train.trainer=external", 'train.command=["no-such-program", "{output}"]')
    assert finding("training", *command).state == "missing" and "no-such-program" in finding("training", *command).found


def test_a_base_folder_must_be_a_pipeline(tmp_path: Path) -> None:
    assert finding("base model", f"model.base={tmp_path}").state == "missing"
    (tmp_path / "model_index.json").write_text("{}")
    assert finding("base model", f"model.base={tmp_path}").state == "ok"


def test_a_store_is_looked_at_and_not_made(tmp_path: Path) -> None:
    assert finding("store", f"run.store={tmp_path / 'a' / 'b'}").state == "ok"
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_device_index_is_missing_where_torch_has_no_cuda() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ModelError, match="run.device=auto"):
        finding("device", "run.device=cuda")
    assert finding("device", "run.device=cpu").found.startswith("cpu, ")


def test_what_other_parts_refuse_is_a_finding_among_others(tmp_path: Path) -> None:
    config = load_config("tiny", (f"data.training={tmp_path}", "score.suite=tiny_human", "run.device=cpu", "train.trainer=lara",
                                  f"run.store={tmp_path / 'file'}"))
    (tmp_path / "file").write_text("")
    diagnosis = examine(config)
    states = {check.name: check.state for check in diagnosis.checks}
    found = {check.name: check.found for check in diagnosis.checks}
    assert list(states) == list(CHECKS)
    assert (states["data"], states["suite"], states["python"]) == ("missing", "missing", "ok")
    assert "metadata.jsonl" in found["data"] and 'Did you mean "tiny_humans"?' in found["suite"]
    assert (states["store"], states["trainer and metrics"]) == ("missing", "missing") and "lora" in found["trainer and metrics"]
    assert not diagnosis.ready and "data" in diagnosis.verdict


def test_a_package_of_another_version_or_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["pytest>=1", "pytest<1", "surely-no-such-package>=2", "not-asked-for; extra == 'test'"]
    monkeypatch.setattr("sana_bench.doctor.requires", lambda name: asked)
    state, found, remedy = check_packages(RunConfig(name="x"))
    assert state == "missing"
    assert found.startswith("pytest<1 (have ") and found.endswith("surely-no-such-package>=2")
    assert remedy == "pip install 'pytest<1' 'surely-no-such-package>=2'"


def test_notes_do_not_keep_a_recipe_from_running() -> None:
    ok, note, missing = (Check(state, state, "", "") for state in ("ok", "note", "missing"))
    assert Diagnosis((ok, note)).ready and Diagnosis((ok, note)).verdict == "this recipe can run here"
    assert not Diagnosis((ok, missing, note)).ready


def test_how_many_fine_tunes_a_run_makes_is_told() -> None:
    assert finding("trainer and metrics").found.startswith("trainer lora, ")
    assert finding("trainer and metrics", "train.num_seeds=3").found.startswith("trainer lora, 3 training seeds, ")
    with pytest.raises(ConfigError, match="num_seeds"):
        finding("trainer and metrics", "train.num_seeds=3", "train.trainer=none")
