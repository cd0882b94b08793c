"""Training on a CUDA device: the losses of the processor, resumed runs, lower precision, and nothing left on the device that training does not need.

Run: pytest tests/end_to_end/test_training_gpu.py -q      (needs no assets)
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sana_bench.config import RunConfig, load_config
from sana_bench.store import Store, sha256_file
from sana_bench.train import find_checkpoint, train
from tests.micro import build_base, write_run

pytestmark = pytest.mark.gpu
TOGETHER = Path(__file__).parents[1] / "together.py"
OPTIONS = ("train.earlier_stage=[{resolution=32, max_train_steps=2, train_batch_size=2, gradient_accumulation_steps=2}]", "train.max_train_steps=4")


@pytest.fixture(scope="module")
def material(tmp_path_factory) -> dict[str, Path]:
    """A micro Sana and four photographs that come with scikit-image."""
    from PIL import Image
    from skimage import data

    folder = tmp_path_factory.mktemp("material")
    photographs = folder / "photographs"
    photographs.mkdir()
    for name in ("astronaut", "chelsea", "coffee", "camera"):
        Image.fromarray(getattr(data, name)()).convert("RGB").resize((128, 160)).save(photographs / f"{name}.png")
    lines = [json.dumps({"file_name": path.name, "text": f"a photograph, {path.stem}"}) for path in sorted(photographs.iterdir())]
    (photographs / "metadata.jsonl").write_text("\n".join(lines))
    return {"base": build_base(folder / "base"), "training": photographs, "reference": photographs}


def config_of(material: dict[str, Path], folder: Path, *overrides: str) -> RunConfig:
    return load_config(str(write_run(folder, **material)), (*OPTIONS, *overrides))


def losses(material: dict[str, Path], folder: Path, *overrides: str) -> tuple[float, ...]:
    config = config_of(material, folder, *overrides)
    return train(config, Store(config.run.store)).summary.losses


@pytest.mark.parametrize("trainer", ["lora", "full"])
def test_losses_are_those_of_the_processor(material, tmp_path, trainer):
    ours, theirs = (losses(material, tmp_path / device, f"run.device={device}", f"train.trainer={trainer}") for device in ("cuda", "cpu"))
    assert ours == pytest.approx(theirs, rel=2e-3)


@pytest.mark.parametrize("setting", ["train.mixed_precision=bf16", "train.gradient_checkpointing=true", "train.compile=true"])
def test_precision_checkpointing_and_compiling_change_the_losses_by_little(material, tmp_path, setting):
    plain, other = (losses(material, tmp_path / str(bool(each)), "run.device=cuda", "train.trainer=full", *each) for each in ((), (setting,)))
    assert other == pytest.approx(plain, rel=2e-2 if "bf16" in setting else 2e-3)


def test_a_run_stopped_on_the_border_of_two_stages_ends_in_the_same_weights(material, tmp_path, monkeypatch):
    import sana_bench.training.loop as loop

    save, calls = loop.save_training_state, []

    def then_stop(*arguments):
        save(*arguments)
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt

    digests = []
    for name, hook in (("unbroken", save), ("broken", then_stop)):
        config = config_of(material, tmp_path / name, "run.device=cuda", "train.ema_decay=0.5")
        monkeypatch.setattr(loop, "save_training_state", hook)
        if name == "broken":
            with pytest.raises(KeyboardInterrupt):
                train(config, Store(config.run.store))
            monkeypatch.setattr(loop, "save_training_state", save)
        checkpoint = train(config, Store(config.run.store))
        digests.append(sha256_file(Store(config.run.store).folder("checkpoint", checkpoint.digest) / checkpoint.weights_file))
    assert digests[0] == digests[1]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_a_launched_process_has_the_losses_of_one_that_was_not(material, tmp_path, strategy):
    """NCCL, DDP and weights that are cut, as far as one GPU can show them."""
    alone, together = (write_run(tmp_path / name, **material) for name in ("alone", "together"))
    settings = (*OPTIONS, "run.device=cuda", "train.trainer=full", f"train.strategy={strategy}")
    runs = tmp_path / "runs.json"
    runs.write_text(json.dumps([[str(together), settings]]))
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1", TOGETHER, runs], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    configs = [load_config(str(recipe), settings) for recipe in (together, alone)]
    ours, theirs = find_checkpoint(configs[0], Store(configs[0].run.store)), train(configs[1], Store(configs[1].run.store))
    assert ours.summary.losses == pytest.approx(theirs.summary.losses, rel=1e-5)


def test_encoders_are_gone_from_the_device_when_training_begins(material, tmp_path, monkeypatch):
    import torch

    import sana_bench.training.fine_tune as fine_tune

    held, make = [], fine_tune.make_trainee

    def measured(transformer, *rest):
        held.append((torch.cuda.memory_allocated(), sum(each.numel() * each.element_size() for each in transformer.state_dict().values())))
        return make(transformer, *rest)

    monkeypatch.setattr(fine_tune, "make_trainee", measured)
    before = torch.cuda.memory_allocated()
    losses(material, tmp_path, "run.device=cuda")
    allocated, weights = held[0]
    assert allocated - before < 2 * weights + 2**20  # what is allocated in pieces of 512 bytes, and the positional embedding
