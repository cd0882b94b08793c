"""Sana-Sprint: its own pipeline and scheduler, guidance as an input, and settings that it does not have."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import SanaPipeline, SanaSprintPipeline, SanaTransformer2DModel, SCMScheduler

from sana_bench.config import GenerateSection, ModelSection, load_config
from sana_bench.errors import ConfigError, ModelError
from sana_bench.generation.sampling import SPRINT_INTERMEDIATE_TIMESTEP, SPRINT_MAX_TIMESTEP, draw, instruction_of, prepare_pipeline, sampling_record
from sana_bench.models import load_pipeline
from sana_bench.store import Store
from sana_bench.train import train
from tests.micro import write_run

SETTINGS = GenerateSection(height=64, width=64, num_inference_steps=2, guidance_scale=4.5, max_sequence_length=16, complex_human_instruction=False, scheduler="scm")


@pytest.fixture(scope="module")
def base(micro, tmp_path_factory) -> Path:
    """A micro Sprint: the micro Sana's parts around a transformer that takes guidance and normalises queries and keys."""
    parts = SanaPipeline.from_pretrained(micro["base"]).components
    config = {key: value for key, value in parts["transformer"].config.items() if not key.startswith("_")}
    torch.manual_seed(3)
    transformer = SanaTransformer2DModel(**config | {"guidance_embeds": True, "qk_norm": "rms_norm_across_heads"})
    folder = tmp_path_factory.mktemp("sprint")
    SanaSprintPipeline(**parts | {"transformer": transformer, "scheduler": SCMScheduler()}).save_pretrained(folder)
    return folder


@pytest.fixture
def pipeline(base):
    return load_pipeline(ModelSection(base=str(base)), "cpu")


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_it_draws_as_the_pipeline_itself_does(base, pipeline, steps):
    settings = SETTINGS.model_copy(update={"num_inference_steps": steps})
    prepare_pipeline(pipeline, settings)
    (ours,) = draw(pipeline, settings, ["a woman"], [5])
    theirs = SanaSprintPipeline.from_pretrained(base)
    arguments = {} if steps == 2 else {"intermediate_timesteps": None}  # the scheduler takes one for two steps alone
    image = theirs("a woman", height=64, width=64, num_inference_steps=steps, generator=torch.Generator("cpu").manual_seed(5), max_sequence_length=16,
                   use_resolution_binning=False, complex_human_instruction=None, **arguments).images[0]
    assert type(pipeline) is SanaSprintPipeline and np.array_equal(ours, np.asarray(image))


def test_guidance_and_seed_move_the_image_and_the_batch_does_not(pipeline):
    prepare_pipeline(pipeline, SETTINGS)
    together = draw(pipeline, SETTINGS, ["a woman", "a man"], [1, 2])
    alone = [draw(pipeline, SETTINGS, [prompt], [seed])[0] for prompt, seed in (("a woman", 1), ("a man", 2))]
    for first, second in zip(together, alone, strict=True):
        assert np.abs(first.astype(int) - second).max() <= 1
    assert np.abs(alone[0].astype(int) - draw(pipeline, SETTINGS, ["a woman"], [2])[0]).mean() > 1
    stronger = SETTINGS.model_copy(update={"guidance_scale": 40.0})
    assert not np.array_equal(alone[0], draw(pipeline, stronger, ["a woman"], [1])[0])


def test_the_defaults_are_the_pipelines_own():
    own = inspect.signature(SanaSprintPipeline.__call__).parameters
    assert (SPRINT_MAX_TIMESTEP, SPRINT_INTERMEDIATE_TIMESTEP) == (own["max_timesteps"].default, own["intermediate_timesteps"].default)
    assert instruction_of(GenerateSection()) == own["complex_human_instruction"].default


def test_the_record_says_what_the_family_does_not_have():
    record = sampling_record(SETTINGS, ModelSection(), "cpu")
    assert (record["negative_prompt"], record["flow_shift"], record["scheduler"]) == (None, None, "scm")
    assert (record["max_timesteps"], record["intermediate_timesteps"]) == (1.5708, 1.3)
    assert sampling_record(SETTINGS.model_copy(update={"num_inference_steps": 1}), ModelSection(), "cpu")["intermediate_timesteps"] is None
    assert "max_timesteps" not in sampling_record(GenerateSection(), ModelSection(), "cpu")


def test_each_family_needs_a_scheduler_of_its_own(micro, pipeline):
    with pytest.raises(ModelError, match="SanaSprintPipeline is drawn with generate.scheduler scm, not flow_euler"):
        prepare_pipeline(pipeline, SETTINGS.model_copy(update={"scheduler": "flow_euler"}))
    with pytest.raises(ModelError, match="SanaPipeline is drawn with generate.scheduler flow_dpm_solver or flow_euler, not scm"):
        prepare_pipeline(load_pipeline(ModelSection(base=str(micro["base"])), "cpu"), SETTINGS)


@pytest.mark.parametrize("trainer", ["lora", "full"])
def test_it_is_not_trained_by_flow_matching_under_another_scheduler_either(micro, base, tmp_path, trainer):
    config = load_config(str(write_run(tmp_path, **micro | {"base": base})), (f"train.trainer={trainer}",))
    with pytest.raises(ModelError, match="SanaSprintPipeline is drawn with generate.scheduler scm"):
        train(config, Store(config.run.store))


@pytest.mark.parametrize(("option", "message"), [("generate.negative_prompt=blurred", "no negative_prompt"), ("generate.flow_shift=6.0", "no flow_shift"),
                                                 ("train.trainer=lora", "can be evaluated"), ("train.trainer=full", "can be evaluated")])
def test_settings_that_it_does_not_have_are_refused(micro, base, tmp_path, option, message):
    recipe = str(write_run(tmp_path, **micro | {"base": base}))
    assert load_config(recipe, ("generate.scheduler=scm", "train.trainer=none")).generate.scheduler == "scm"
    with pytest.raises(ConfigError, match=message):
        load_config(recipe, ("generate.scheduler=scm", "train.trainer=none", option))
