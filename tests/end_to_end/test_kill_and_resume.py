"""A run that is killed and started again ends with the same bytes as an unbroken one, on one machine.

Run: pytest tests/end_to_end -q
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.micro import command, kill_when, run, write_run


def files(folder: Path, pattern: str) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob(pattern))}


def test_killed_training_gives_the_same_weights(micro, tmp_path):
    unbroken, broken = (write_run(tmp_path / name, steps=40, **micro) for name in ("unbroken", "broken"))
    assert run("train", "--config", unbroken).returncode == 0
    state = "store/checkpoint/*/training_state.safetensors"
    kill_when(command("train", "--config", broken), lambda: any(broken.parent.glob(state)))
    weights = "store/checkpoint/*/pytorch_lora_weights.safetensors"
    assert not files(broken.parent, weights), "the kill came too late to prove anything"
    assert run("train", "--config", broken).returncode == 0
    expected = files(unbroken.parent, weights)
    assert len(expected) == 1 and files(broken.parent, weights) == expected


def test_killed_generation_gives_the_same_images(micro, tmp_path):
    options = ("--set", "train.trainer=none", "--set", "generate.num_images_per_prompt=4", "--set", "generate.num_inference_steps=8")
    unbroken, broken = (write_run(tmp_path / name, **micro) for name in ("unbroken", "broken"))
    for recipe in (unbroken, broken):
        assert run("train", "--config", recipe, *options).returncode == 0
    assert run("generate", "--config", unbroken, *options).returncode == 0
    images = "store/samples/*/*.png"
    kill_when(command("generate", "--config", broken, *options), lambda: any(broken.parent.glob(images)))
    drawn = len(files(broken.parent, images))
    assert 0 < drawn < 24, "the kill came too late to prove anything"
    assert run("generate", "--config", broken, *options).returncode == 0
    expected = files(unbroken.parent, images)
    assert len(expected) == 24 and files(broken.parent, images) == expected
