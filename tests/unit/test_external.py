"""The trainer `external`: LoRAs, full folders, checkpoints of NVlabs' train.py, and what a command leaves; each refused where it is not of the base."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from diffusers import SanaTransformer2DModel
from safetensors.torch import load_file, save_file

from sana_bench.config import ModelSection, RunConfig, load_config
from sana_bench.errors import ConfigError, ModelError, StoreError, TrainingError
from sana_bench.generate import generate
from sana_bench.generation.sampling import draw, prepare_pipeline
from sana_bench.images import pixels_sha256
from sana_bench.models import load_pipeline
from sana_bench.native import from_diffusers
from sana_bench.prompts import load_suite
from sana_bench.store import Store
from sana_bench.train import checkpoint_digest, train
from sana_bench.training.external import find_weights
from tests.micro import write_run


@pytest.fixture(scope="module")
def tuned(micro) -> SanaTransformer2DModel:
    """The micro base's transformer, each weight moved a little."""
    model = SanaTransformer2DModel.from_pretrained(micro["base"], subfolder="transformer")
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def save_native(model: SanaTransformer2DModel, path: Path) -> Path:
    weights = from_diffusers(model.state_dict(), model.config)
    torch.save({"state_dict": weights, "state_dict_ema": {name: value * 0.5 for name, value in weights.items()}}, path)
    return path


def config_of(folder: Path, micro: dict, weights: Path | str, *options: str, base: Path | None = None) -> RunConfig:
    recipe = write_run(folder, **(micro | ({"base": base} if base else {})))
    return load_config(str(recipe), ("train.trainer=external", f"train.weights={json.dumps(str(weights))}", *options))


def stored(config: RunConfig) -> Path:
    store = Store(config.run.store)
    checkpoint = train(config, store)
    assert (checkpoint.kind, checkpoint.weights_file, checkpoint.summary) == ("full", "transformer", None) and len(checkpoint.weights_sha256) == 64
    return store.folder("checkpoint", checkpoint.digest) / "transformer"


def forms(tuned: SanaTransformer2DModel, base: Path, folder: Path) -> dict[str, Path]:
    """The same full weights in every form that is taken."""
    tuned.save_pretrained(folder / "alone")
    tuned.save_pretrained(folder / "sharded", max_shard_size="20KB")
    assert len(list((folder / "sharded").glob("*.safetensors"))) > 1
    whole = shutil.copytree(base, folder / "whole")
    tuned.save_pretrained(whole / "transformer")
    tuned.save_pretrained(folder / "variant", variant="bf16")
    return {"alone": folder / "alone", "sharded": folder / "sharded", "whole": whole, "variant": folder / "variant", "native": save_native(tuned, folder / "x.pth")}


def test_every_form_of_full_weights_becomes_the_same_model(micro, tuned, tmp_path):
    for name, path in forms(tuned, micro["base"], tmp_path).items():
        model = SanaTransformer2DModel.from_pretrained(stored(config_of(tmp_path / f"run-{name}", micro, path)))
        assert all(torch.equal(value, tuned.state_dict()[key]) for key, value in model.state_dict().items()), name


def test_full_weights_are_drawn_with_and_guarded(micro, tuned, tmp_path):
    config = config_of(tmp_path / "run", micro, save_native(tuned, tmp_path / "x.pth"), "generate.batch_size=1")
    store, suite = Store(config.run.store), load_suite(config.score.suite)
    weights = stored(config)
    drawn = generate(config, train(config, store), suite, store)
    base_config = config.model_copy(update={"train": config.train.model_copy(update={"trainer": "none"})})
    of_base = generate(base_config, train(base_config, store), suite, store)
    assert all(one.pixels_sha256 != other.pixels_sha256 for one, other in zip(drawn.samples, of_base.samples, strict=True))

    direct = load_pipeline(config.model, "cpu")
    direct.transformer.load_state_dict(tuned.state_dict())
    prepare_pipeline(direct, config.generate)
    for sample in drawn.samples[:2]:
        (pixels,) = draw(direct, config.generate, [suite.by_id(sample.prompt_id).text], [sample.seed])
        assert pixels_sha256(pixels) == sample.pixels_sha256

    (shard,) = weights.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    shutil.rmtree(store.folder("samples", drawn.digest))
    with pytest.raises(StoreError, match="altered"):
        generate(config, train(config, store), suite, store)


def test_the_moving_average_is_taken_where_it_is_asked_for(micro, tuned, tmp_path):
    path = save_native(tuned, tmp_path / "x.pth")
    plain, ema = (config_of(tmp_path / "run", micro, path, f"train.weights_ema={value}") for value in ("false", "true"))
    assert checkpoint_digest(plain) != checkpoint_digest(ema)
    name = "transformer_blocks.0.attn1.to_q.weight"
    sides = [SanaTransformer2DModel.from_pretrained(stored(config)).state_dict()[name] for config in (plain, ema)]
    assert torch.equal(sides[0] * 0.5, sides[1]) and torch.equal(sides[0], tuned.state_dict()[name])


def test_there_is_no_moving_average_to_choose_in_other_forms(micro, tuned, tmp_path):
    tuned.save_pretrained(tmp_path / "folder")
    with pytest.raises(ConfigError, match="folder is none: leave it out"):
        stored(config_of(tmp_path / "run", micro, tmp_path / "folder", "train.weights_ema=true"))


def test_the_identity_is_the_content_wherever_it_lies(micro, tuned, tmp_path):
    here = save_native(tuned, tmp_path / "a.pth")
    tuned.save_pretrained(tmp_path / "alone")
    copy = shutil.copytree(tmp_path / "alone", tmp_path / "copy")
    (copy / "README.md").write_text("no weights")
    digests = [checkpoint_digest(config_of(tmp_path / "run", micro, path)) for path in (here, shutil.copy(here, tmp_path / "c.pth"), copy, tmp_path / "alone")]
    assert digests[2] == digests[3] and len(set(digests)) == 3
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"dropout": 0.1}))
    assert checkpoint_digest(config_of(tmp_path / "run", micro, copy)) != digests[2]


def with_positions(base: Path, folder: Path) -> Path:
    """The base as a model with the positional embedding of 2K."""
    shutil.copytree(base, folder)
    old = SanaTransformer2DModel.from_pretrained(base, subfolder="transformer")
    model = SanaTransformer2DModel(**{key: value for key, value in old.config.items() if not key.startswith("_")} | {"sample_size": 64, "interpolation_scale": 1.0})
    model.load_state_dict(old.state_dict())
    model.save_pretrained(folder / "transformer")
    return folder


def test_weights_without_the_positional_embedding_of_their_base_are_refused(micro, tuned, tmp_path):
    base = with_positions(micro["base"], tmp_path / "base")
    tuned.save_pretrained(tmp_path / "folder")
    for path, message in ((tmp_path / "folder", "lack the positional embedding"), (save_native(tuned, tmp_path / "x.pth"), "has no positional embedding")):
        with pytest.raises(ModelError, match=message):
            stored(config_of(tmp_path / "run", micro, path, base=base))
    good = SanaTransformer2DModel.from_pretrained(base, subfolder="transformer")
    assert stored(config_of(tmp_path / "run", micro, save_native(good, tmp_path / "good.pth"), base=base)).is_dir()
    with pytest.raises(ModelError, match="and the base has none"):
        stored(config_of(tmp_path / "run", micro, tmp_path / "good.pth"))


@pytest.mark.parametrize("form", ["folder", "native"])
def test_a_2k_run_on_a_base_without_positional_embedding_is_refused_when_weights_are_taken_in(micro, tuned, tmp_path, form):
    tuned.save_pretrained(tmp_path / "folder")
    path = tmp_path / "folder" if form == "folder" else save_native(tuned, tmp_path / "x.pth")
    with pytest.raises(ModelError, match="lacks its positional embedding"):
        stored(config_of(tmp_path / "run", micro, path, "generate.height=2048", "generate.width=2048"))


def test_full_weights_in_bfloat16_are_not_taken_for_a_run_in_float16(micro, tuned, tmp_path):
    tuned.save_pretrained(tmp_path / "folder")
    assert stored(config_of(tmp_path / "run", micro, tmp_path / "folder", "model.transformer_dtype=float16")).is_dir()
    SanaTransformer2DModel.from_pretrained(tmp_path / "folder", dtype=torch.bfloat16).save_pretrained(tmp_path / "half")
    with pytest.raises(ModelError, match="float16 overflows"):
        stored(config_of(tmp_path / "run", micro, tmp_path / "half", "model.transformer_dtype=float16"))
    assert stored(config_of(tmp_path / "run", micro, tmp_path / "half", "model.transformer_dtype=bfloat16")).is_dir()


def test_no_command_is_run_for_a_base_that_cannot_be_drawn_with(micro, tmp_path):
    """Its dtype, its size and its scheduler are known before hours of training."""
    half = shutil.copytree(micro["base"], tmp_path / "half")
    SanaTransformer2DModel.from_pretrained(half / "transformer", dtype=torch.bfloat16).save_pretrained(half / "transformer")
    options = {"float16 overflows": "model.transformer_dtype=float16", "lacks its positional embedding": "generate={height=2048, width=2048}",
               "is drawn with generate.scheduler flow": "generate.scheduler=scm"}
    for message, option in options.items():
        config = config_of(tmp_path / "run", micro, "", 'train.command=["touch", "{output}/begun"]', option, base=half)
        with pytest.raises(ModelError, match=message):
            stored(config)
    assert not list(tmp_path.rglob("begun"))


def test_weights_of_another_architecture_name_what_differs(micro, tuned, tmp_path):
    config = {key: value for key, value in tuned.config.items() if not key.startswith("_")}
    deeper = SanaTransformer2DModel(**config | {"num_layers": 2, "qk_norm": "rms_norm_across_heads"})
    deeper.save_pretrained(tmp_path / "deeper")
    with pytest.raises(ModelError, match="num_layers is 2 and the base's is 1; .*qk_norm|qk_norm .*num_layers is 2"):
        stored(config_of(tmp_path / "run", micro, tmp_path / "deeper"))
    with pytest.raises(ModelError, match="tensors are none of its"):
        stored(config_of(tmp_path / "run", micro, save_native(deeper, tmp_path / "deeper.pth")))
    wider = SanaTransformer2DModel(**config | {"num_attention_heads": 4, "num_cross_attention_heads": 4, "cross_attention_dim": 32})
    with pytest.raises(ModelError, match="positions|have another shape"):
        stored(config_of(tmp_path / "run", micro, save_native(wider, tmp_path / "wider.pth")))


def test_weights_of_whole_numbers_and_a_config_without_end_are_clear_errors(micro, tuned, tmp_path):
    tuned.save_pretrained(tmp_path / "folder")
    path = tmp_path / "folder" / "diffusion_pytorch_model.safetensors"
    save_file({name: value.to(torch.int8) for name, value in load_file(path).items()}, path)
    with pytest.raises(ModelError, match="are no floating-point numbers .*torch.int8"):
        stored(config_of(tmp_path / "run", micro, tmp_path / "folder"))
    (tmp_path / "folder" / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match="config.json cannot be read"):
        stored(config_of(tmp_path / "run", micro, tmp_path / "folder"))


def test_a_shard_that_is_missing_is_one_clear_error(micro, tuned, tmp_path):
    tuned.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    min((tmp_path / "sharded").glob("*.safetensors")).unlink()
    with pytest.raises(ModelError, match="tensors are missing"):
        stored(config_of(tmp_path / "run", micro, tmp_path / "sharded"))


@pytest.mark.parametrize("weights", ["", "no/such/thing", "."])
def test_nothing_to_evaluate_is_one_clear_error(micro, tmp_path, monkeypatch, weights):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="external"):
        train(config_of(tmp_path / "run", micro, weights), Store(tmp_path / "store"))


def test_a_folder_with_a_lora_is_a_lora(tmp_path):
    (tmp_path / "pytorch_lora_weights.safetensors").write_bytes(b"lora")
    assert find_weights(tmp_path, ModelSection()).kind == "adapter"
    assert find_weights(tmp_path / "pytorch_lora_weights.safetensors", ModelSection()).kind == "adapter"


COPY = "import shutil, sys; [shutil.copy(each, sys.argv[1]) for each in sys.argv[2:]]; print('copied')"


def by_command(folder: Path, micro: dict, *words: str, weights: str = "") -> RunConfig:
    return config_of(folder, micro, weights, f"train.command={json.dumps([sys.executable, *words])}")


def test_a_commands_newest_weights_are_taken_and_it_runs_once(micro, tuned, tmp_path):
    older = save_native(SanaTransformer2DModel.from_pretrained(micro["base"], subfolder="transformer"), tmp_path / "epoch_1_step_1.pth")
    newer = save_native(tuned, tmp_path / "epoch_1_step_2.pth")
    torch.save({"epoch": 1}, tmp_path / "metadata.pth")
    config = by_command(tmp_path / "run", micro, "-c", COPY, "{output}", str(older), str(newer), str(tmp_path / "metadata.pth"))
    weights = stored(config)
    assert torch.equal(SanaTransformer2DModel.from_pretrained(weights).proj_out.weight, tuned.proj_out.weight)
    assert (weights.parent / "command.log").read_text() == "copied\n"
    stored(config)
    (weights.parent / "record.json").unlink()
    stored(config)  # what stopped after the command does not run it again
    assert (weights.parent / "command.log").read_text() == "copied\n"
    chosen = config.model_copy(update={"train": config.train.model_copy(update={"weights": older.name})})
    assert not torch.equal(SanaTransformer2DModel.from_pretrained(stored(chosen)).proj_out.weight, tuned.proj_out.weight)
    with pytest.raises(TrainingError, match='no "other.pth"'):
        stored(config.model_copy(update={"train": config.train.model_copy(update={"weights": "other.pth"})}))


@pytest.mark.parametrize("word", ["{}", "--config={}"])
def test_an_edited_script_trains_other_weights(micro, tmp_path, word):
    script = tmp_path / "train.yaml"
    config = by_command(tmp_path / "run", micro, "-c", "", word.format(script), "{output}")
    digests = [checkpoint_digest(config) for content in ("lr: 1", "lr: 2", "lr: 1") if script.write_text(content)]
    assert digests[0] == digests[2] != digests[1]


def test_a_command_that_leaves_no_weights_is_told_where_they_were_looked_for(micro, tmp_path):
    with pytest.raises(TrainingError, match="left no weights in .*output"):
        train(by_command(tmp_path / "run", micro, "-c", "print('{output}')"), Store(tmp_path / "store"))
