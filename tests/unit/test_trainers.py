"""What the trainers train, and what they leave on disk: presets, adapters of every kind, full rank, moving average, stages."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sana_bench.config import load_config
from sana_bench.errors import ConfigError
from sana_bench.generate import generate
from sana_bench.models import load_adapter, load_pipeline
from sana_bench.prompts import load_suite
from sana_bench.store import Store, sha256_file
from sana_bench.train import checkpoint_digest, train
from sana_bench.training.lora import PRESETS
from tests.micro import write_run


def trained(micro, folder, *overrides: str):
    """Checkpoint, its folder, and the config of a micro run."""
    config = load_config(str(write_run(folder, **micro)), overrides)
    store = Store(config.run.store)
    checkpoint = train(config, store)
    return checkpoint, store.folder("checkpoint", checkpoint.digest), config


def adapters(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "pytorch_lora_weights.safetensors")


def full_weights(folder) -> dict[str, torch.Tensor]:
    from diffusers import SanaTransformer2DModel

    return SanaTransformer2DModel.from_pretrained(folder / "transformer", local_files_only=True).state_dict()


def base_weights(micro) -> dict[str, torch.Tensor]:
    from diffusers import SanaTransformer2DModel

    return SanaTransformer2DModel.from_pretrained(micro["base"], subfolder="transformer").state_dict()


def changed(micro, folder) -> set[str]:
    """Names of the parameters that training moved; the others must be the base's to the bit."""
    base = base_weights(micro)
    return {name for name, value in full_weights(folder).items() if not torch.equal(value, base[name])}


@pytest.mark.parametrize(("preset", "layers"), [("attention", {"to_q", "to_k", "to_v"}), ("attention_out", {"to_q", "to_k", "to_v", "to_out.0"}),
                                                ("all", {"to_q", "to_k", "to_v", "to_out.0", "conv_inverted", "conv_point"})])
def test_presets_name_what_gets_an_adapter(micro, tmp_path, preset, layers):
    _, folder, _ = trained(micro, tmp_path, f"train.target_modules={preset}")
    names = {name.partition(".lora_")[0] for name in adapters(folder)}
    assert {name.rpartition(".")[2] if not name.endswith(".0") else "to_out.0" for name in names} == layers == set(PRESETS[preset])


def test_the_end_of_a_blocks_name_is_no_layer(micro, tmp_path):
    with pytest.raises(ConfigError, match='not only layers that can have an adapter end in "0".*to_out.0'):  # of transformer_blocks.0 too
        trained(micro, tmp_path, 'train.target_modules=["0"]')


@pytest.mark.parametrize(("trainer", "foreign", "own"), [("lora", "train.last_blocks=1", "train.rank=3"), ("full", "train.rank=3", "train.last_blocks=1")])
def test_what_means_nothing_to_a_trainer_trains_nothing_anew(micro, tmp_path, trainer, foreign, own):
    recipe = str(write_run(tmp_path, **micro))
    plain, other, changed_one, cut = (checkpoint_digest(load_config(recipe, (f"train.trainer={trainer}", option)))
                                      for option in ("train.trainer=" + trainer, foreign, own, "train.strategy=fsdp2"))
    assert plain == other == cut != changed_one


def test_adapters_on_convolutions_are_drawn_with(micro, tmp_path):
    """The pipeline takes them: with them it draws another image than without."""
    checkpoint, _, config = trained(micro, tmp_path, "train.target_modules=all", "train.learning_rate=0.1")
    suite, store = load_suite(config.score.suite), Store(config.run.store)
    tuned = generate(config, checkpoint, suite, store, 2)
    untouched = config.model_copy(update={"train": config.train.model_copy(update={"trainer": "none"})})
    base = generate(untouched, train(untouched, store), suite, store, 2)
    assert {sample.pixels_sha256 for sample in tuned.samples}.isdisjoint(sample.pixels_sha256 for sample in base.samples)


def test_weight_decomposed_adapters_have_magnitudes_and_load(micro, tmp_path):
    checkpoint, folder, config = trained(micro, tmp_path, "train.use_dora=true")
    weights = adapters(folder)
    assert sum(name.endswith("lora_magnitude_vector") for name in weights) == 6  # to_q, to_k and to_v of two attentions
    pipeline = load_pipeline(config.model, "cpu")
    load_adapter(pipeline, folder / "pytorch_lora_weights.safetensors", checkpoint.base_digest)
    loaded = {name: value for name, value in pipeline.transformer.named_parameters() if "lora_magnitude" in name}
    for name, value in loaded.items():
        saved = weights["transformer." + name.replace(".default.weight", "").replace(".default", "")]
        assert torch.equal(value.detach().cpu(), saved), name
    assert len(loaded) == 6


@pytest.mark.parametrize(("stabilised", "scale"), [("false", 4 / 2), ("true", 4 / 2 ** 0.5)])  # alpha 4, rank 2
def test_rank_stabilised_scaling_reaches_the_pipeline(micro, tmp_path, stabilised, scale):
    checkpoint, folder, config = trained(micro, tmp_path, f"train.use_rslora={stabilised}")
    pipeline = load_pipeline(config.model, "cpu")
    load_adapter(pipeline, folder / "pytorch_lora_weights.safetensors", checkpoint.base_digest)
    assert pipeline.transformer.transformer_blocks[0].attn1.to_q.scaling["default"] == pytest.approx(scale)


def computes_the_same_twice(pipeline) -> bool:
    generator = torch.Generator().manual_seed(0)
    latents, embeds = torch.randn(1, 4, 2, 2, generator=generator), torch.randn(1, 5, 16, generator=generator)
    with torch.no_grad():
        first, second = (pipeline.transformer(latents, encoder_hidden_states=embeds, timestep=torch.tensor([500.0]), return_dict=False)[0] for _ in range(2))
    return torch.equal(first, second)


def test_dropout_ends_with_training(micro, tmp_path):
    """diffusers gives layers the dropout that an adapter's header names, and leaves it on: in ours there is none, and others' is switched off."""
    checkpoint, folder, config = trained(micro, tmp_path, "train.lora_dropout=0.5", "train.learning_rate=0.05")
    ours, theirs = folder / "pytorch_lora_weights.safetensors", tmp_path / "theirs.safetensors"
    pipeline = load_pipeline(config.model, "cpu")
    pipeline.load_lora_weights(ours.parent, weight_name=ours.name)
    assert computes_the_same_twice(pipeline)
    with safe_open(ours, framework="pt") as file:
        header = json.loads(file.metadata()["lora_adapter_metadata"])
    save_file(load_file(ours), theirs, {"lora_adapter_metadata": json.dumps(header | {"transformer.lora_dropout": 0.5})})
    pipeline = load_pipeline(config.model, "cpu")
    load_adapter(pipeline, theirs, checkpoint.base_digest)
    assert computes_the_same_twice(pipeline) and pipeline.transformer.transformer_blocks[0].attn1.to_q.lora_dropout["default"].p == 0.5


def test_adapters_are_trained_in_float32_under_bfloat16_compute(micro, tmp_path, monkeypatch):
    monkeypatch.setattr("sana_bench.train.remove_training_state", lambda folder: None)
    _, folder, _ = trained(micro, tmp_path, "train.mixed_precision=bf16", "model.transformer_dtype=bfloat16")
    with safe_open(folder / "training_state.safetensors", framework="pt") as state:
        assert {state.get_slice(name).get_dtype() for name in state.keys() if name.startswith("weight.")} == {"F32"}


def test_the_training_state_is_gone_once_the_checkpoint_is_recorded(micro, tmp_path):
    _, folder, _ = trained(micro, tmp_path)
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {"record.json", "pytorch_lora_weights.safetensors"}


@pytest.mark.parametrize(("settings", "expected"), [
    ((), None), (("train.trainable_modules=attention",), ("attn1.", "attn2.")), (("train.trainable_modules=cross_attention",), ("attn2.",)),
    (('train.trainable_modules=["ff"]',), ("ff.",)), (("train.last_blocks=1",), ("transformer_blocks.0.",))])
def test_full_rank_trains_what_is_named_and_nothing_else(micro, tmp_path, settings, expected):
    checkpoint, folder, _ = trained(micro, tmp_path, "train.trainer=full", *settings)
    moved, everything = changed(micro, folder), set(base_weights(micro))
    assert checkpoint.kind == "full" and checkpoint.weights_file == "transformer"
    assert moved == {name for name in everything if expected is None or any(f".{part}" in f".{name}" for part in expected)}


def test_both_selections_hold_at_once(micro, tmp_path):
    checkpoint, folder, _ = trained(micro, tmp_path, "train.trainer=full", "train.trainable_modules=cross_attention", "train.last_blocks=1")
    base = base_weights(micro)
    assert changed(micro, folder) == {name for name in base if ".attn2." in name}
    assert checkpoint.summary.trainable_parameters == sum(value.numel() for name, value in base.items() if ".attn2." in name)


@pytest.mark.parametrize(("settings", "message"), [
    (('train.trainable_modules=["attn3"]',), 'Did you mean "attn2"'), (("train.last_blocks=2",), "has 1 blocks"),
    (('train.trainable_modules=["patch_embed"]', "train.last_blocks=1"), r"patch_embed in the last 1 blocks \(train.last_blocks\) has none"),
    (('train.trainable_modules=["norm1"]',), "norm1 has none")])
def test_names_that_are_not_there_are_one_error_before_anything_is_encoded(micro, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        trained(micro, tmp_path, "train.trainer=full", *settings)
    assert not (tmp_path / "store" / "latents").exists()


def test_full_weights_are_drawn_with_and_another_fine_tune_draws_otherwise(micro, tmp_path):
    checkpoint, _, config = trained(micro, tmp_path, "train.trainer=full")
    suite, store = load_suite(config.score.suite), Store(config.run.store)
    untouched = config.model_copy(update={"train": config.train.model_copy(update={"trainer": "none"})})
    pixels = [{sample.pixels_sha256 for sample in generate(each, train(each, store), suite, store, 2).samples} for each in (config, untouched)]
    assert pixels[0].isdisjoint(pixels[1]) and checkpoint.summary.steps == 3


def test_weights_are_saved_in_the_dtype_that_is_sampled_in(micro, tmp_path):
    _, folder, _ = trained(micro, tmp_path, "train.trainer=full", "model.transformer_dtype=bfloat16", "train.mixed_precision=bf16")
    with safe_open(folder / "transformer" / "diffusion_pytorch_model.safetensors", framework="pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}


def test_large_transformers_are_saved_in_shards_that_from_pretrained_reads(micro, tmp_path, monkeypatch):
    _, whole, _ = trained(micro, tmp_path / "whole", "train.trainer=full")
    monkeypatch.setattr("sana_bench.full_weights.MAX_SHARD_SIZE", "20KB")
    _, cut, _ = trained(micro, tmp_path / "cut", "train.trainer=full")
    index = json.loads((cut / "transformer" / "diffusion_pytorch_model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 2
    one, many = full_weights(whole), full_weights(cut)
    assert one.keys() == many.keys() and all(torch.equal(one[name], many[name]) for name in one)


def test_the_moving_average_is_what_is_saved(micro, tmp_path, monkeypatch):
    """By hand: diffusers' decay at step n, from 0, is (1 + n) / (10 + n), at most the one asked for, and 0 at the first."""
    import sana_bench.training.loop as loop

    save, after_each_step = loop.save_training_state, []

    def and_note(folder, trainee, *rest):
        after_each_step.append({name: weight.detach().clone() for name, weight in trainee.weights.items()})
        save(folder, trainee, *rest)

    monkeypatch.setattr(loop, "save_training_state", and_note)
    _, folder, _ = trained(micro, tmp_path, "train.trainer=full", "train.ema_decay=0.2", "train.max_train_steps=5")
    assert len(after_each_step) == 5
    average = after_each_step[0]
    for number, weights in enumerate(after_each_step[1:], 1):
        decay = min((1 + number) / (10 + number), 0.2)
        average = {name: decay * value + (1 - decay) * weights[name] for name, value in average.items()}
    saved = full_weights(folder)
    assert all(torch.allclose(saved[name], value, atol=1e-6) for name, value in average.items())
    assert not all(torch.allclose(saved[name], value, atol=1e-6) for name, value in after_each_step[-1].items())


STAGED = ("train.earlier_stage=[{resolution=32, max_train_steps=2, train_batch_size=3, learning_rate=2e-2, gradient_accumulation_steps=2}]",)


def test_stages_run_one_after_the_other_with_their_own_settings(micro, tmp_path, capsys):
    checkpoint, _, config = trained(micro, tmp_path, *STAGED)
    assert checkpoint.summary.steps == 2 + 3
    printed = capsys.readouterr().err
    assert "train LoRA (32 px, stage 1 of 2): 2/2" in printed and "train LoRA (64 px, stage 2 of 2): 3/3" in printed
    sizes = {tuple(load_file(path)["latents"].shape[1:]) for path in (tmp_path / "store" / "latents").rglob("*.safetensors")}
    assert sizes == {(1, 1), (2, 2)}  # 32 and 64 px


@pytest.mark.parametrize("stop_after", [1, 2])
def test_stopped_in_a_stage_or_between_two_a_lora_ends_in_the_same_bytes(micro, tmp_path, stop_after, monkeypatch):
    """With dropout, whose randomness must be that of the step, a moving average, and accumulated batches. Full rank: test_fine_tune.py."""
    options = (*STAGED, "train.ema_decay=0.5", "train.lora_dropout=0.1")
    _, expected, _ = trained(micro, tmp_path / "unbroken", *options)
    import sana_bench.training.loop as loop

    save, calls = loop.save_training_state, []

    def then_stop(*arguments):
        save(*arguments)
        calls.append(arguments)
        if len(calls) == stop_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_training_state", then_stop)
    with pytest.raises(KeyboardInterrupt):
        trained(micro, tmp_path / "broken", *options)
    monkeypatch.setattr(loop, "save_training_state", save)
    _, folder, _ = trained(micro, tmp_path / "broken", *options)
    assert sha256_file(folder / "pytorch_lora_weights.safetensors") == sha256_file(expected / "pytorch_lora_weights.safetensors")


def test_the_summary_says_how_often_each_source_was_seen(micro, tmp_path):
    checkpoint, _, _ = trained(micro, tmp_path, f'data.mix=[{{source="{micro["reference"]}", share=0.25}}]', "train.max_train_steps=8")
    shares = {share.name: share for share in checkpoint.summary.shares if share.name.startswith("source=")}
    assert shares[f"source={micro['reference']}"].after == 0.25 and shares[f"source={micro['training']}"].after == 0.75
    assert 0 < checkpoint.summary.seconds_inside and 0 <= checkpoint.summary.seconds_outside
