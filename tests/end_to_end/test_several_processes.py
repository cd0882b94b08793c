"""Two processes that train together do what one does with twice the batch, end with whoever started them, and say clearly what went wrong.

Run: pytest tests/end_to_end/test_several_processes.py -q
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sana_bench.config import load_config
from sana_bench.store import Store, sha256_file
from sana_bench.train import find_checkpoint, train
from sana_bench.training.launch import config_file
from tests.micro import command, kill_when, run, write_run

TOGETHER = Path(__file__).parents[1] / "together.py"
TWO = ("train.num_processes=2", "train.train_batch_size=1")
GENTLE = "train.learning_rate=1e-3"
"""Adam's first steps are as long for a gradient of rounding errors as for any other: at a high rate full-rank losses would part for that."""
ACCUMULATED, RECOMPUTED, CUT = "train.gradient_accumulation_steps=2", "train.gradient_checkpointing=true", "train.strategy=fsdp2"
STAGES = 'train.earlier_stage=[{resolution=32, max_train_steps=2, train_batch_size=%d}]'
FULL, BF16 = "train.trainer=full", "train.mixed_precision=bf16"
AS_ONE = {
    "lora, accumulated": (ACCUMULATED, "train.target_modules=all"),
    "lora, cut": (CUT, RECOMPUTED, "train.use_dora=true"),
    "full, accumulated": (FULL, ACCUMULATED, RECOMPUTED, GENTLE),
    "full, cut, accumulated": (FULL, CUT, ACCUMULATED, RECOMPUTED, "train.ema_decay=0.9", GENTLE),
    "part of it, cut": (FULL, CUT, "train.trainable_modules=cross_attention", GENTLE)}
"""Trainings whose losses must be those of one process with twice the batch."""
ALIKE = {"lora, bf16": (BF16, "model.transformer_dtype=bfloat16"), "lora, bf16, cut": (BF16, "model.transformer_dtype=bfloat16", CUT),
         "full, bf16": (FULL, BF16, GENTLE), "full, bf16, cut": (FULL, BF16, CUT, GENTLE)}
"""Pairs whose losses must be the same: float32 adapters beside a frozen bfloat16 base, and float32 weights computed in bfloat16, cut or not."""
LONG = 60
"""Steps of the training that is killed."""


@pytest.fixture(scope="module")
def recipe(micro, tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("together"), steps=3, **micro)


@pytest.fixture(scope="module")
def together(recipe: Path) -> dict[str, tuple[float, ...]]:
    """Losses of two processes, by name of the training; LONG's too, whose weights the store keeps."""
    settings = {**AS_ONE, **ALIKE, "stages": (FULL, CUT, STAGES % 1, GENTLE), "long": (f"train.max_train_steps={LONG}",)}
    runs = recipe.with_name("runs.json")
    runs.write_text(json.dumps([[str(recipe), [*each, *TWO]] for each in settings.values()]))
    done = subprocess.run([sys.executable, "-m", "accelerate.commands.launch", "--config_file", config_file("fsdp2"), "--num_processes", "2", TOGETHER, runs],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"{LONG}/{LONG}") == 1, "only the main process shows progress"
    return {name: _checkpoint(recipe, *each, *TWO).summary.losses for name, each in settings.items()}


def _checkpoint(recipe: Path, *overrides: str):
    config = load_config(str(recipe), overrides)
    return find_checkpoint(config, Store(config.run.store))


def _alone(recipe: Path, *overrides: str) -> tuple[float, ...]:
    config = load_config(str(recipe), overrides)
    return train(config, Store(config.run.store)).summary.losses


@pytest.mark.parametrize("name", AS_ONE)
def test_two_processes_have_the_losses_of_one_with_twice_the_batch(name: str, recipe, together):
    alone = _alone(recipe, *(each for each in AS_ONE[name] if each != CUT))
    assert len(alone) == 3 and together[name] == pytest.approx(alone, rel=1e-5)


def test_two_processes_go_through_stages_as_one_does(recipe, together):
    alone = _alone(recipe, FULL, STAGES % 2, GENTLE)
    assert len(alone) == 5 and together["stages"] == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("name", ["lora, bf16", "full, bf16"])
def test_cut_weights_are_computed_in_the_same_precision(name: str, together):
    assert together[f"{name}, cut"] == pytest.approx(together[name], rel=1e-6)


def test_killed_and_started_again_they_end_in_the_same_weights(micro, recipe, together, tmp_path):
    """Unbroken: started by hand, above. Killed: the command that started them, which alone is killed."""
    broken = write_run(tmp_path, steps=3, **micro)
    words = ("train", "--config", broken, *(word for each in (f"train.max_train_steps={LONG}", *TWO) for word in ("--set", each)))
    started, family = command(*words), []

    def saved() -> bool:
        family[:] = psutil.Process(started.pid).children(recursive=True)
        return any(tmp_path.glob("store/checkpoint/*/training_state.safetensors"))

    kill_when(started, saved)
    assert len(family) >= 4 and not psutil.wait_procs(family, timeout=30)[1]  # supervisor, launcher and two processes
    weights = "store/checkpoint/*/pytorch_lora_weights.safetensors"
    assert not any(tmp_path.glob(weights)), "the kill came too late to prove anything"
    done = run(*words)
    assert done.returncode == 0, done.stderr
    folder = Store(recipe.parent / "store").folder("checkpoint", _checkpoint(recipe, f"train.max_train_steps={LONG}", *TWO).digest)
    assert [sha256_file(path) for path in tmp_path.glob(weights)] == [sha256_file(folder / "pytorch_lora_weights.safetensors")]
    assert not (next(tmp_path.glob(weights)).parent / ".processes").exists()


def test_what_a_process_cannot_do_is_one_clear_error(micro, tmp_path):
    """An image whose head is whole and whose pixels are not: only the process that encodes it can know."""
    images = tmp_path / "training"
    images.mkdir()
    for path in micro["training"].iterdir():
        (images / path.name).write_bytes(path.read_bytes())
    spoiled = images / "1.png"
    spoiled.write_bytes(spoiled.read_bytes()[:2000])
    recipe = write_run(tmp_path, **{**micro, "training": images})
    done = run("train", "--config", recipe, *(word for each in TWO for word in ("--set", each)))
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("error:") == 1 and str(spoiled) in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr


def test_as_many_processes_as_the_recipe_has(recipe):
    done = subprocess.run([sys.executable, "-m", "sana_bench", "train", "--config", recipe], capture_output=True, text=True,
                          env={**os.environ, "WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0"})
    assert done.returncode == 2 and done.stderr.startswith("sana-bench: error: the launcher started 4 process(es) (WORLD_SIZE), and train.num_processes is 1")
