"""Sampling: noise that depends on the sample alone, sizes that are checked, settings that are recorded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sana_bench.config import GenerateSection, ModelSection, load_config
from sana_bench.errors import GenerationError, StoreError
from sana_bench.generate import generate, sample_ids, sample_set_digest
from sana_bench.generation.sampling import SAMPLING_VERSION, build_scheduler, check_image, draw, instruction_of, prepare_pipeline, sampling_record
from sana_bench.images import read_image
from sana_bench.models import load_pipeline
from sana_bench.prompts import load_suite, seed_of
from sana_bench.records import BenchmarkResult, Checkpoint, StageCost
from sana_bench.shipped import shipped_folder
from sana_bench.store import Store, digest_of, read_record
from sana_bench.train import train
from tests.micro import write_run


@pytest.fixture(scope="module")
def pipeline(micro):
    return load_pipeline(ModelSection(base=str(micro["base"])), "cpu")


SETTINGS = GenerateSection(height=64, width=64, num_inference_steps=3, guidance_scale=2.0, max_sequence_length=16,
                           complex_human_instruction=False)


def test_an_image_does_not_depend_on_its_batch_or_place(pipeline):
    prepare_pipeline(pipeline, SETTINGS)
    prompts, seeds = ["a woman", "a man", "a person"], [5, 6, 7]
    together = draw(pipeline, SETTINGS, prompts, seeds)
    backwards = draw(pipeline, SETTINGS, prompts[::-1], seeds[::-1])[::-1]
    alone = [draw(pipeline, SETTINGS, [prompt], [seed])[0] for prompt, seed in zip(prompts, seeds, strict=True)]
    for first, second, third in zip(together, backwards, alone, strict=True):
        # kernels may round differently in another batch; another noise would move most pixels by tens of levels
        assert np.abs(first.astype(int) - second).max() <= 1 and np.abs(first.astype(int) - third).max() <= 1


def test_another_seed_is_another_image(pipeline):
    prepare_pipeline(pipeline, SETTINGS)
    first, second = draw(pipeline, SETTINGS, ["a woman", "a woman"], [1, 2])
    assert np.abs(first.astype(int) - second).mean() > 1


def test_the_seed_depends_on_suite_version_prompt_and_index_only(micro, tmp_path):
    write_run(tmp_path / "one", **micro)
    write_run(tmp_path / "two", suite_version=2, **micro)
    one, two = (load_suite(str(tmp_path / name / "suite.toml")) for name in ("one", "two"))
    shuffled = one.model_copy(update={"prompt": one.prompt[::-1], "description": "other"})
    assert seed_of(one, "body", 1) == seed_of(shuffled, "body", 1)
    seeds = {seed_of(one, "body", 0), seed_of(one, "body", 1), seed_of(one, "portrait", 0), seed_of(two, "body", 0)}
    assert len(seeds) == 4 and all(0 <= seed < 2**63 for seed in seeds)


def test_what_was_drawn_before_there_was_a_seed_to_set_is_that_of_seed_0():
    """Digests of sample sets, sampling records and seeds are what they were: the set's digest is made here by the rule that was in force."""
    config, suite = load_config("tiny", ("run.device=cpu",)), load_suite("tiny_humans")
    checkpoint = Checkpoint(digest="c1", base="b", base_digest="b1", trainer="none", kind="base", cost=StageCost(seconds=0, peak_memory_bytes=0))
    settings = {"height": 2048, "width": 2048, "num_images_per_prompt": 1, "num_inference_steps": 20, "guidance_scale": 2.0, "negative_prompt": "",
                "scheduler": "flow_dpm_solver", "flow_shift": 3.0, "max_sequence_length": 64, "complex_human_instruction": False,
                "use_resolution_binning": False, "batch_size": 1, "vae_tile_size": 0, "vae_tile_stride": 0}
    prompts = [suite.name, suite.version, [[prompt.id, prompt.text] for prompt in suite.prompt]]
    assert sample_set_digest(config, checkpoint, suite) == digest_of([SAMPLING_VERSION, "c1", prompts, settings, ["float32"] * 3, "cpu"])
    other = load_config("tiny", ("run.device=cpu", "generate.seed=1"))
    assert sample_set_digest(other, checkpoint, suite) != sample_set_digest(config, checkpoint, suite)
    accepted = read_record(shipped_folder("baselines") / "tiny" / "result.json", BenchmarkResult)
    assert sampling_record(config.generate, config.model, "cpu") == accepted.sampling == sampling_record(other.generate, other.model, "cpu")
    assert {sample.seed for sample in accepted.samples} == {seed_of(suite, sample.prompt_id, sample.sample_index) for sample in accepted.samples}


@pytest.mark.parametrize("name", ["flow_euler", "flow_dpm_solver"])
def test_schedulers_carry_the_flow_shift(name):
    scheduler = build_scheduler(GenerateSection(scheduler=name, flow_shift=6.0))
    config = scheduler.config
    assert (config.get("shift") if name == "flow_euler" else config.flow_shift) == 6.0


def test_the_instruction_is_sanas_own():
    assert instruction_of(GenerateSection(complex_human_instruction=False)) is None
    assert instruction_of(GenerateSection())[-1] == "User Prompt: "


def test_the_record_tells_every_setting_apart():
    base = sampling_record(SETTINGS, ModelSection(), "cuda:1")
    assert base["device"] == "cuda" and base["use_resolution_binning"] is False and base["vae_dtype"] == "float32"
    other = sampling_record(SETTINGS.model_copy(update={"complex_human_instruction": True}), ModelSection(vae_dtype="bfloat16"), "cuda")
    assert {key for key in base if base[key] != other[key]} == {
        "complex_human_instruction", "complex_human_instruction_sha256", "vae_dtype"}


def test_a_wrong_size_and_a_black_image_are_refused():
    with pytest.raises(GenerationError, match="32x64, not 64x64"):
        check_image(np.ones((64, 32, 3), np.uint8), SETTINGS, "a woman")
    with pytest.raises(GenerationError, match="black"):
        check_image(np.zeros((64, 64, 3), np.uint8), SETTINGS, "a woman")


def test_tiling_reaches_the_autoencoder(pipeline):
    prepare_pipeline(pipeline, SETTINGS.model_copy(update={"vae_tile_size": 64, "vae_tile_stride": 32}))
    vae = pipeline.vae
    assert vae.use_tiling and (vae.tile_sample_min_height, vae.tile_sample_stride_width) == (64, 32)
    vae.disable_tiling()


@pytest.fixture
def drawn(micro, tmp_path):
    config = load_config(str(write_run(tmp_path, **micro)), ("train.trainer=none",))
    store, suite = Store(config.run.store), load_suite(config.score.suite)
    checkpoint = train(config, store)
    return config, checkpoint, suite, store, generate(config, checkpoint, suite, store)


def test_samples_are_complete_named_and_hashed(drawn):
    config, _, suite, store, sample_set = drawn
    assert [sample.sample_id for sample in sample_set.samples] == [name for name, _, _ in sample_ids(config, suite)]
    assert len({sample.pixels_sha256 for sample in sample_set.samples}) == 6
    for sample in sample_set.samples:
        path = store.folder("samples", sample_set.digest) / sample.file_name
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and read_image(path, StoreError).shape == (64, 64, 3)


def test_a_truncated_png_in_the_store_is_one_clear_error_and_the_rest_is_kept(drawn):
    config, checkpoint, suite, store, sample_set = drawn
    folder = store.folder("samples", sample_set.digest)
    (folder / "record.json").unlink()
    path = folder / sample_set.samples[2].file_name
    path.write_bytes(path.read_bytes()[:200])
    others = {other: other.read_bytes() for other in folder.glob("*.png") if other != path}
    with pytest.raises(StoreError, match=path.name):
        generate(config, checkpoint, suite, store)
    assert all(other.read_bytes() == content for other, content in others.items())
    path.unlink()  # what the message says to do
    assert generate(config, checkpoint, suite, store).samples == sample_set.samples


def test_a_finished_set_whose_image_was_deleted_is_made_good(drawn):
    config, checkpoint, suite, store, sample_set = drawn
    path = store.folder("samples", sample_set.digest) / sample_set.samples[2].file_name
    content = path.read_bytes()
    path.unlink()
    assert generate(config, checkpoint, suite, store).samples == sample_set.samples
    assert path.read_bytes() == content


def test_what_a_prompt_expects_is_no_part_of_the_pixels(drawn):
    config, checkpoint, suite, _, sample_set = drawn
    other = suite.model_copy(update={"description": "other words", "prompt": tuple(
        prompt.model_copy(update={"tags": ("new",)}) for prompt in suite.prompt)})
    assert other.digest != suite.digest and sample_set_digest(config, checkpoint, other) == sample_set.digest
    changed = suite.model_copy(update={"prompt": (suite.prompt[0].model_copy(update={"text": "a man"}), *suite.prompt[1:])})
    assert sample_set_digest(config, checkpoint, changed) != sample_set.digest


def test_tampered_weights_are_not_sampled(micro, tmp_path):
    config = load_config(str(write_run(tmp_path, **micro)))
    store = Store(config.run.store)
    checkpoint = train(config, store)
    weights = store.folder("checkpoint", checkpoint.digest) / checkpoint.weights_file
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(StoreError, match="altered"):
        generate(config, checkpoint, load_suite(config.score.suite), store)


def test_global_random_state_does_not_reach_the_noise(pipeline):
    prepare_pipeline(pipeline, SETTINGS)
    torch.manual_seed(1)
    first = draw(pipeline, SETTINGS, ["a woman"], [3])[0]
    torch.manual_seed(2)
    assert np.array_equal(first, draw(pipeline, SETTINGS, ["a woman"], [3])[0])
