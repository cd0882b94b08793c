"""Fine-tuning in one process: what is resumed, recomputed, compiled and held in memory changes no weight."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path

import pytest
import torch

import sana_bench.training.fine_tune as fine_tune
import sana_bench.training.loop as loop
from sana_bench.config import RunConfig, load_config
from sana_bench.errors import ModelError
from sana_bench.models import load_transformer
from sana_bench.store import Store
from sana_bench.train import checkpoint_digest, train
from sana_bench.training.checkpoints import weights_digest
from sana_bench.training.full import free_parameters
from sana_bench.training.group import join
from sana_bench.training.lora import add_adapter
from tests.micro import write_run

STAGED = ("train.trainer=full", "train.ema_decay=0.5", "train.earlier_stage=[{resolution=32, max_train_steps=2, train_batch_size=2}]")
"""Two steps at 32 px, then three at 64; a training state is written after each."""


class Stop(Exception):
    """Stands for a kill."""


def config_of(micro, folder: Path, *overrides: str) -> RunConfig:
    return load_config(str(write_run(folder, **micro)), overrides)


def losses_and_weights(config: RunConfig) -> tuple[tuple[float, ...], str]:
    store = Store(config.run.store)
    checkpoint = train(config, store)
    return checkpoint.summary.losses, weights_digest(store.folder("checkpoint", checkpoint.digest) / checkpoint.weights_file)


@pytest.fixture(scope="module")
def unbroken(micro, tmp_path_factory) -> tuple[tuple[float, ...], str]:
    return losses_and_weights(config_of(micro, tmp_path_factory.mktemp("unbroken"), *STAGED))


@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_full_rank_with_an_average_resumes_bit_for_bit_at_any_step_and_between_stages(after: int, micro, unbroken, tmp_path, monkeypatch):
    config, save, steps = config_of(micro, tmp_path, *STAGED), loop.save_training_state, []

    def save_and_stop(folder, trainee, losses, *rest) -> None:
        save(folder, trainee, losses, *rest)
        steps.append(len(losses))
        if len(losses) == after:
            raise Stop

    monkeypatch.setattr(loop, "save_training_state", save_and_stop)
    with pytest.raises(Stop):
        train(config, Store(config.run.store))
    monkeypatch.setattr(loop, "save_training_state", save)
    assert steps == list(range(1, after + 1))
    assert losses_and_weights(config) == unbroken


def test_a_size_that_the_base_cannot_draw_is_known_before_it_is_trained(micro, tmp_path):
    config = config_of(micro, tmp_path, "generate.width=2048", "generate.height=2048")
    with pytest.raises(ModelError, match="lacks its positional embedding"):
        train(config, Store(config.run.store))
    assert not (Path(config.run.store) / "latents").exists()


def test_where_sources_lie_and_how_they_are_called_changes_no_weight(micro, tmp_path, monkeypatch):
    """Not augmented views either, which are drawn for each picture. A folder may end in a slash, as shells complete it, or begin with a tilde."""
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(micro["training"], tmp_path / "moved")
    shutil.copytree(micro["reference"], tmp_path / "general")
    views, share = "train.augment={num_views=4, rotation=10.0, crop=0.2}", "share=0.25"
    here = config_of(micro, tmp_path / "here", views, f'data.mix=[{{source="{micro["reference"]}/", {share}}}]')
    there = config_of(micro | {"training": "~/moved"}, tmp_path / "there", views, f'data.mix=[{{source="{tmp_path}/general", {share}}}]')
    assert checkpoint_digest(here) == checkpoint_digest(there)
    assert losses_and_weights(here) == losses_and_weights(there)


def test_regions_reach_the_loss_and_crops_are_no_images_of_their_own(micro, tmp_path):
    """The first loss is of the same untouched weights on the same samples: what differs is how much faces count."""
    checkpoints = []
    for name, weight in (("even", 1), ("faces", 50)):
        config = config_of(micro, tmp_path / name, f"train.regions={{crop_share=0.5, max_enlargement=8, face_weight={weight}}}")
        checkpoints.append(train(config, Store(config.run.store)).summary)
    even, faces = checkpoints
    assert even.losses[0] != faces.losses[0] and even.losses[0] == pytest.approx(faces.losses[0], rel=0.5)
    assert even.num_images == faces.num_images == len((micro["training"] / "metadata.jsonl").read_text().splitlines())
    assert {share.name: share.after for share in faces.shares}["crops"] == 0.5


@pytest.mark.parametrize("trainer", ["lora", "full"])
def test_activations_that_are_computed_again_give_the_same_losses(trainer: str, micro, tmp_path):
    kept, recomputed = (losses_and_weights(config_of(micro, tmp_path / word, f"train.trainer={trainer}", f"train.gradient_checkpointing={word}"))[0]
                        for word in ("false", "true"))
    assert len(kept) == 3 and recomputed == pytest.approx(kept, rel=1e-6)


@pytest.mark.slow
def test_compiled_blocks_give_the_same_losses(micro, tmp_path):
    plain, compiled = (losses_and_weights(config_of(micro, tmp_path / word, f"train.compile={word}"))[0] for word in ("false", "true"))
    assert len(plain) == 3 and compiled == pytest.approx(plain, rel=1e-4)


def test_autoencoder_and_text_encoder_are_gone_before_the_transformer_is_there(micro, tmp_path, monkeypatch):
    parts: dict[str, weakref.ref] = {}
    load_pipeline, load = fine_tune.load_pipeline, fine_tune.load_transformer

    def watched(*arguments, **options):
        pipeline = load_pipeline(*arguments, **options)
        parts.update({name: weakref.ref(getattr(pipeline, name)) for name in ("vae", "text_encoder")})
        return pipeline

    def when_the_rest_is_gone(*arguments):
        assert {name: part() for name, part in parts.items()} == {"vae": None, "text_encoder": None}
        return load(*arguments)

    monkeypatch.setattr(fine_tune, "load_pipeline", watched)
    monkeypatch.setattr(fine_tune, "load_transformer", when_the_rest_is_gone)
    config = config_of(micro, tmp_path)
    train(config, Store(config.run.store))
    assert set(parts) == {"vae", "text_encoder"}


@pytest.mark.parametrize(("part", "change", "left_out"), [
    ("transformer/config.json", ('"norm_eps": 1e-06', '"norm_eps": 1e-05'), None),
    ("vae/config.json", ('"scaling_factor": 1.0', '"scaling_factor": 0.5'), ("transformer", "text_encoder")),
    ("text_encoder/config.json", ('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'), ("transformer", "vae")),
])
def test_a_base_that_differs_in_one_part_encodes_again_what_that_part_makes(part, change, left_out, micro, tmp_path, monkeypatch):
    config = config_of(micro, tmp_path)
    train(config, Store(config.run.store))
    other = shutil.copytree(micro["base"], tmp_path / "other")
    text = (other / part).read_text()
    assert text.count(change[0]) == 1
    (other / part).write_text(text.replace(*change))
    loaded: list[tuple[str, ...]] = []
    load_pipeline = fine_tune.load_pipeline

    def watched(*arguments, without):
        loaded.append(without)
        return load_pipeline(*arguments, without=without)

    monkeypatch.setattr(fine_tune, "load_pipeline", watched)
    train(config_of({**micro, "base": other}, tmp_path), Store(config.run.store))
    assert loaded == ([] if left_out is None else [left_out])


@pytest.mark.parametrize("prepare", [free_parameters, add_adapter])
def test_training_holds_the_weights_once(prepare, micro, tmp_path):
    """What accelerate, the optimizer and the moving average get are the parameters themselves; the average is the one copy."""
    config = config_of(micro, tmp_path, "train.mixed_precision=bf16", "train.ema_decay=0.5", "model.transformer_dtype=bfloat16")
    transformer = load_transformer(config.model, "cpu")
    prepare(transformer, config.train)
    places = {name: parameter.data_ptr() for name, parameter in transformer.named_parameters()}
    trainee = fine_tune.make_trainee(transformer, config.train, join(config.train, "cpu"))
    assert {name: parameter.data_ptr() for name, parameter in trainee.model.named_parameters()} == places
    trained = {name: parameter for name, parameter in transformer.named_parameters() if parameter.requires_grad}
    assert [each.data_ptr() for group in trainee.optimizer.param_groups for each in group["params"]] == [places[name] for name in trained]
    assert all(parameter.dtype == torch.float32 for parameter in trained.values())
    assert [each.shape for each in trainee.ema.shadow_params] == [each.shape for each in trained.values()]
