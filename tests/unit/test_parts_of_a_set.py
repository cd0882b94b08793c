"""A sample set drawn in blocks: the same images as one drawn at once, none of them twice."""

from __future__ import annotations

from pathlib import Path

import pytest

import sana_bench.generate
from sana_bench.config import load_config
from sana_bench.generate import find_sample_set, generate, sample_ids, sample_set_digest
from sana_bench.generation.sampling import draw
from sana_bench.prompts import drawing_order, load_suite
from sana_bench.store import Store
from sana_bench.train import train
from tests.micro import write_run


@pytest.fixture
def job(micro, tmp_path):
    """(config, checkpoint, suite, store) of 6 prompts with 3 images each, in batches of 2, so that batches cross prompts."""
    config = load_config(str(write_run(tmp_path, **micro)), ("train.trainer=none", "generate.num_images_per_prompt=3"))
    store = Store(config.run.store)
    return config, train(config, store), load_suite(config.score.suite), store


@pytest.fixture
def drawn(monkeypatch) -> list[int]:
    """Seeds that were drawn, in their order."""
    seeds = []
    monkeypatch.setattr(sana_bench.generate, "draw", lambda pipeline, settings, prompts, each: seeds.extend(each) or draw(pipeline, settings, prompts, each))
    return seeds


def images_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def test_blocks_give_the_bytes_of_a_whole_run_and_draw_nothing_twice(job, drawn, tmp_path):
    config, checkpoint, suite, store = job
    other = Store(tmp_path / "other")
    whole = generate(config, checkpoint, suite, other)
    folder = store.folder("samples", whole.digest)
    drawn.clear()
    for number in (1, 2, 4, 5):
        part = generate(config, checkpoint, suite, store, number)
        assert {sample.prompt_id for sample in part.samples} == set(drawing_order(suite)[:number]) and len(part.samples) == 3 * number
        assert part.part_of == part.images_digest == whole.digest != part.digest
    last = generate(config, checkpoint, suite, store)
    assert last.samples == whole.samples and last.part_of == "" and last.digest == last.images_digest == whole.digest
    assert len(drawn) == len(set(drawn)) == 18
    assert images_of(folder) == images_of(other.folder("samples", whole.digest))


def test_a_block_draws_no_more_than_the_batch_that_its_end_is_in(job, drawn):
    config, checkpoint, suite, store = job
    generate(config, checkpoint, suite, store, 2)
    assert len(drawn) == 6
    generate(config, checkpoint, suite, store, 3)  # 9 images end within the fifth batch of 2
    assert len(drawn) == 10


def test_a_part_of_a_whole_set_is_there_without_drawing(job, drawn):
    config, checkpoint, suite, store = job
    whole = generate(config, checkpoint, suite, store)
    drawn.clear()
    part = generate(config, checkpoint, suite, store, 2)
    assert not drawn and find_sample_set(config, checkpoint, suite, store, 2) == part
    assert set(part.samples) < set(whole.samples) and [sample.sample_id for sample in part.samples] == [name for name, _, _ in sample_ids(config, suite, 2)]
    assert part.cost.seconds == pytest.approx(whole.cost.seconds / 3)
    assert part.digest == generate(config, checkpoint, suite, Store(store.root.parent / "fresh"), 2).digest


def test_costs_of_blocks_add_up(job):
    config, checkpoint, suite, store = job
    first = generate(config, checkpoint, suite, store, 3)
    whole = generate(config, checkpoint, suite, store)
    assert whole.cost.seconds > first.cost.seconds and whole.cost.peak_memory_bytes >= first.cost.peak_memory_bytes


def test_as_many_prompts_as_there_are_is_the_whole_set(job):
    config, checkpoint, suite, store = job
    assert generate(config, checkpoint, suite, store, 6) == generate(config, checkpoint, suite, store) == find_sample_set(config, checkpoint, suite, store, 99)


def test_an_image_that_was_deleted_since_is_drawn_again(job, drawn):
    config, checkpoint, suite, store = job
    part = generate(config, checkpoint, suite, store, 2)
    path = store.folder("samples", part.images_digest) / part.samples[0].file_name
    content = path.read_bytes()
    path.unlink()
    drawn.clear()
    assert find_sample_set(config, checkpoint, suite, store, 2) is None
    assert generate(config, checkpoint, suite, store, 2).samples == part.samples and path.read_bytes() == content and len(drawn) == 2


def test_which_prompts_share_a_batch_is_part_of_the_identity_only_where_they_do(job, monkeypatch):
    config, checkpoint, suite, _ = job
    single = config.model_copy(update={"generate": config.generate.model_copy(update={"batch_size": 1})})
    digests = [sample_set_digest(each, checkpoint, suite) for each in (config, single)]
    monkeypatch.setattr(sana_bench.generate, "drawing_order", lambda suite: drawing_order(suite)[::-1])
    changed = [sample_set_digest(each, checkpoint, suite) for each in (config, single)]
    assert changed[0] != digests[0] and changed[1] == digests[1]
