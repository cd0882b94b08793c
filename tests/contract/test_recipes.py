"""Every shipped recipe, found by its file: it loads, and what it names exists."""

from __future__ import annotations

import re
import tomllib

import pytest

from sana_bench.config import RunConfig, load_config, shipped_recipes
from sana_bench.models import TINY_SANA
from sana_bench.prompts import load_suite

RECIPES = list(shipped_recipes())


@pytest.fixture(params=RECIPES)
def config(request: pytest.FixtureRequest) -> RunConfig:
    return load_config(request.param)


def test_there_are_recipes() -> None:
    assert {"tiny", "sana_1600m_2k_lora"} <= set(RECIPES)


def test_recipe_is_named_after_its_file(config: RunConfig) -> None:
    assert config.name in RECIPES and load_config(config.name) == config


def test_recipe_writes_no_path_of_a_machine(config: RunConfig) -> None:
    """Where things go is the user's choice: a shipped recipe leaves `run` alone."""
    assert "run" not in tomllib.loads(shipped_recipes()[config.name].read_text())


def test_suite_metrics_and_trainer_exist(config: RunConfig) -> None:
    from sana_bench.guard import parts_of
    from sana_bench.metrics import METRICS
    from sana_bench.training import TRAINERS

    assert load_suite(config.score.suite).prompt
    assert all(name in METRICS for name in (*config.score.metrics, *config.score.extra_metrics, *config.score.guard_metrics))
    assert len(parts_of(config)) == (2 if config.score.guard_suite else 1)
    assert config.train.trainer in TRAINERS.names()


def test_the_released_model_is_guarded_by_prompts_without_people() -> None:
    assert load_config("sana_1600m_2k_lora").score.guard_suite == "general_guard"
    assert not load_config("tiny").score.guard_suite, "tiny-sana knows nothing but people"


def test_reference_and_training_never_share_people(config: RunConfig) -> None:
    from sana_bench.data.manifest import check_apart

    check_apart(config.data.training, config.data.reference)


def test_a_big_recipe_measures_clip_score_as_others_do(config: RunConfig) -> None:
    """On a model that others use too; the embedded recipe stays without a download."""
    from sana_bench.metrics import METRICS
    from sana_bench.score import chosen_metrics

    names = [entry.name for entry in chosen_metrics(config)]
    assert ("clip_score_vit_l_14_openai" in names) is (config.model.base != TINY_SANA)
    assert all(METRICS.get(name).always_here for name in names) is (config.model.base == TINY_SANA)


def test_images_are_drawn_at_2k(config: RunConfig) -> None:
    assert (config.generate.height, config.generate.width, config.train.resolution) == (2048, 2048, 2048)


def test_a_hub_base_trains_and_samples_as_it_was_made(config: RunConfig) -> None:
    """The traps of the released bases: dtype, timestep shift, the complex human instruction, and tiles that show."""
    if config.model.base == TINY_SANA:
        return
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", config.model.base)
    assert config.model.transformer_dtype == ("bfloat16" if "BF16" in config.model.base else "float16")
    assert (config.train.flow_shift, config.generate.flow_shift, config.train.weighting_scheme) == (3.0, 3.0, "logit_normal")
    assert config.generate.complex_human_instruction
    assert config.generate.vae_tile_size == 0 or config.generate.vae_tile_size >= 1024
