"""Cached latents: of the view that is asked for, under names that change with what they are of and with nothing else, read one by one."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from sana_bench.config import RunConfig, load_config
from sana_bench.data.latents import MAX_THREADS, LatentCache
from sana_bench.data.manifest import load_imagefolder
from sana_bench.data.pictures import pictures_of
from sana_bench.data.samples import Draw, People, Picture, Region
from sana_bench.data.training_set import TrainingSet, training_set
from sana_bench.data.views import fit_view
from sana_bench.errors import StoreError
from sana_bench.models import base_digest
from sana_bench.store import Store, sha256_file
from sana_bench.train_config import AugmentSection
from sana_bench.training import TrainingContext
from sana_bench.training.batches import BATCHES_AHEAD, BatchReader
from sana_bench.training.fine_tune import encode_all
from sana_bench.training.group import join
from tests.micro import write_run

SIDE = 64
AUGMENT = AugmentSection(num_views=4, rotation=5)


@pytest.fixture(scope="module")
def vae(micro):
    from diffusers import AutoencoderDC

    made = AutoencoderDC.from_pretrained(micro["base"], subfolder="vae").eval()
    made.register_to_config(scaling_factor=0.5)  # what is cached must have it in it
    return made


def write_image(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (80, 72, 3), np.uint8)).save(path)
    return path


def picture_of(path: Path, **fields) -> Picture:
    return Picture(**{"source": "s", "path": path, "content": sha256_file(path), "name": path.name, "text": "a woman", "size": (72, 80), **fields})


def cache_of(folder: Path, *pictures: Picture, settings: AugmentSection = AUGMENT, vae_identity: str = "vae") -> LatentCache:
    return LatentCache(pictures, settings, Store(folder / "store"), vae_identity)


def expected(path: Path, vae) -> torch.Tensor:
    view = np.array(fit_view(Image.open(path).convert("RGB"), SIDE, SIDE))
    with torch.no_grad():
        return vae.encode(torch.from_numpy(view).permute(2, 0, 1)[None].float() / 127.5 - 1).latent[0] * 0.5


def whole(index: int = 0, view: int = 0, width: int = SIDE, height: int = SIDE) -> Draw:
    return Draw(index, view, width, height)


def test_they_are_the_autoencoders_of_the_view_times_its_scaling_factor(tmp_path, vae):
    paths = [write_image(tmp_path / f"{seed}.png", seed) for seed in range(5)]
    cache = cache_of(tmp_path, *map(picture_of, paths))
    draws = [whole(index) for index in range(5)]
    cache.encode(draws, vae)
    for draw, path in zip(draws, paths, strict=True):
        latents = cache.read(draw)
        assert latents.dtype == torch.float32 and latents.shape == (4, SIDE // 32, SIDE // 32)
        assert torch.allclose(latents, expected(path, vae), atol=1e-6)


@pytest.mark.parametrize("fields", [{"text": "a man"}, {"name": "other.png"}, {"source": "other"}, {"people": People(regions=(Region(kind="face", box=(0, 0, 9, 9)),))}])
def test_the_untouched_view_is_shared_whatever_is_said_of_an_image(tmp_path, vae, fields):
    path = write_image(tmp_path / "a.png", 0)
    cache = cache_of(tmp_path, picture_of(path), replace(picture_of(path), **fields))
    assert cache.path(whole(0)) == cache.path(whole(1))
    assert cache.missing([whole(0), whole(1)]) == [whole(0)]
    cache.encode([whole(0)], vae)
    assert cache.missing([whole(0), whole(1)]) == []


def test_their_name_changes_with_all_that_changes_them(tmp_path):
    path, other = write_image(tmp_path / "a.png", 0), write_image(tmp_path / "b.png", 1)
    picture = picture_of(path)
    kinds = [picture, picture_of(other), replace(picture, crop=(0, 0, 64, 64)), replace(picture, crop=(1, 0, 65, 64)), replace(picture, fit="pad"),
             replace(picture, focus_y=0.4)]
    cache = cache_of(tmp_path, *kinds)
    draws = [*(whole(index) for index in range(len(kinds))), whole(view=1), whole(view=2), whole(width=96), whole(height=96)]
    paths = [*map(cache.path, draws), cache_of(tmp_path, picture, vae_identity="another").path(whole()),
             cache_of(tmp_path, picture, settings=AUGMENT.model_copy(update={"rotation": 6})).path(whole(view=1))]
    assert len(set(paths)) == len(paths)
    assert cache_of(tmp_path, picture, settings=AugmentSection()).path(whole()) == cache.path(whole())  # view 0 is untouched


def test_files_that_swap_their_contents_never_swap_latents(tmp_path, vae):
    """The existing script reads cached latents by the number of the step, beside captions in another order."""
    folder, names = tmp_path / "images", ("a.png", "b.png")
    for seed, name in enumerate(names):
        write_image(folder / name, seed)
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps({"file_name": name, "text": name}) for name in names))

    def cache() -> LatentCache:
        return cache_of(tmp_path, *pictures_of(load_imagefolder(folder)))

    before = cache()
    before.encode([whole(0), whole(1)], vae)
    (folder / "a.png").rename(folder / "c.png")
    (folder / "b.png").rename(folder / "a.png")
    (folder / "c.png").rename(folder / "b.png")
    after = cache()
    assert after.missing([whole(0), whole(1)]) == []
    for index, name in enumerate(names):
        assert torch.allclose(after.read(whole(index)), expected(folder / name, vae), atol=1e-6)
        assert torch.equal(after.read(whole(index)), before.read(whole(1 - index)))
    write_image(folder / "a.png", 2)
    assert cache().missing([whole(0), whole(1)]) == [whole(0)]


def damage(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "other tensors":
        save_file({"other": torch.zeros(1)}, path)
    else:
        path.write_bytes({"empty": b"", "cut": path.read_bytes()[:-4], "header": b"\xff" * 16 + path.read_bytes()[16:]}[how])


@pytest.mark.parametrize("how", ["missing", "empty", "cut", "header", "other tensors"])
def test_a_damaged_file_is_one_clear_error(tmp_path, vae, how):
    cache = cache_of(tmp_path, picture_of(write_image(tmp_path / "a.png", 0)))
    cache.encode([whole()], vae)
    damage(cache.path(whole()), how)
    with pytest.raises(StoreError, match="missing or damaged .* Delete it to have it encoded again") as raised:
        cache.read(whole())
    assert str(cache.path(whole())) in str(raised.value) and "\n" not in str(raised.value)


def reader_of(config: RunConfig) -> tuple[TrainingSet, BatchReader]:
    store = Store(config.run.store)
    images = training_set(config, store)
    context = TrainingContext(config=config, store=store, folder=store.root, digest="", base_digest=base_digest(config.model))
    return images, BatchReader(images, *encode_all(context, images, join(config.train, "cpu")), config.train, process=0)


def files(store: Store) -> dict[str, set[Path]]:
    return {kind: set(store.root.glob(f"{kind}/*/*.safetensors")) for kind in ("latents", "embeddings")}


def newly_encoded(config: RunConfig) -> set[str]:
    """The caches that get new files where everything that a recipe trains on is encoded."""
    store = Store(config.run.store)
    before = files(store)
    reader_of(config)
    return {kind for kind, there in files(store).items() if there - before[kind]}


@pytest.fixture(scope="module")
def recipe(micro, tmp_path_factory) -> str:
    """A recipe, all of whose images and captions are encoded."""
    path = str(write_run(tmp_path_factory.mktemp("recipe"), **micro))
    assert newly_encoded(load_config(path)) == {"latents", "embeddings"}
    return path


@pytest.mark.parametrize(("setting", "again"), [
    ("train.resolution=96", {"latents"}), ("model.vae_dtype=bfloat16", {"latents"}), ("train.augment.num_views=2", {"latents"}),
    ("generate.max_sequence_length=24", {"embeddings"}), ("generate.complex_human_instruction=true", {"embeddings"}),
    ("model.text_encoder_dtype=bfloat16", {"embeddings"}), ("train.learning_rate=0.5", set()), ("train.trainer=full", set()), ("train.seed=7", set()),
    ("train.caption_dropout=0", set()), ("generate.guidance_scale=3", set())])
def test_a_setting_has_encoded_again_what_depends_on_it_and_nothing_else(recipe, setting, again):
    assert newly_encoded(load_config(recipe, (setting,))) == again


@pytest.fixture
def live() -> Iterator[Callable[..., int]]:
    """How many arrays of a shape are in the tensors that Python holds since the test began, stacks of them included."""

    def count(*shape: int) -> int:
        tensors = [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor)]
        return sum(each.numel() for each in tensors if each.shape[-len(shape):] == shape) // math.prod(shape)

    gc.freeze()  # the million objects from before are not gone through
    yield count
    gc.unfreeze()


def test_memory_of_batches_does_not_grow_with_the_number_of_images(micro, tmp_path, live):
    """Each sample has latents and noise; at most those of the batches that are read ahead are there, of the one at hand, and twice those of the one
    that is being put together."""
    number, batch_size = 48, 2
    for index in range(number):
        write_image(tmp_path / "images" / f"{index}.png", index)
    (tmp_path / "images" / "metadata.jsonl").write_text("\n".join(json.dumps({"file_name": f"{index}.png", "text": "a"}) for index in range(number)))
    config = load_config(str(write_run(tmp_path, **{**micro, "training": tmp_path / "images"}, steps=number // batch_size)))
    images, reader = reader_of(config)
    most = 0
    with reader.stage(0) as take:
        for step in range(number // batch_size):
            batch = take(step)
            most = max(most, live(4, 2, 2))
    assert len(images.all_draws()) == number and batch.latents.shape == (batch_size, 4, 2, 2)
    assert 2 * batch_size <= most <= 2 * batch_size * (BATCHES_AHEAD + 3) < number


def test_a_batch_reads_its_own_files_alone(micro, tmp_path):
    config = load_config(str(write_run(tmp_path, **micro)))
    images, reader = reader_of(config)
    expected_latents = reader.read(0, 1).latents
    mine = {reader._latents.path(draw) for draw in images.stages[0].batch(1)}
    others = files(Store(config.run.store))["latents"] - mine
    for path in others:
        path.unlink()
    assert others and torch.equal(reader.read(0, 1).latents, expected_latents)
    mine.pop().unlink()
    with pytest.raises(StoreError):
        reader.read(0, 1)


def test_few_views_are_in_memory_while_many_are_encoded(tmp_path, vae, live):
    pictures = [picture_of(write_image(tmp_path / f"{seed}.png", seed)) for seed in range(4 * MAX_THREADS)]
    numbers: list[int] = []
    hook = vae.encoder.register_forward_pre_hook(lambda *_: numbers.append(live(3, SIDE, SIDE)))
    try:
        cache_of(tmp_path, *pictures).encode([whole(index) for index in range(len(pictures))], vae)
    finally:
        hook.remove()
    assert len(numbers) == len(pictures) and 1 <= max(numbers) <= MAX_THREADS + 2 < len(pictures)  # and the one at work, once as a batch
