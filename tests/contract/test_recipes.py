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
    assert {"tiny", "sana_1600m_2k_lora", "sana_1600m_2k_full", "sana15_1600m_1024", "sana_sprint_1600m_1024"} <= set(RECIPES)


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


def test_images_are_drawn_at_2k_and_of_models_of_1024_px_at_that(config: RunConfig) -> None:
    """What draws 1024 px alone is evaluated, not trained."""
    side = 1024 if config.name.endswith("_1024") else 2048
    assert (config.generate.height, config.generate.width) == (side, side)
    assert config.train.resolution == 2048 if side == 2048 else config.train.trainer == "none"


def test_a_hub_base_trains_and_samples_as_it_was_made(config: RunConfig) -> None:
    """The traps of the released bases: dtype, timestep shift, the complex human instruction, and tiles that show."""
    if config.model.base == TINY_SANA:
        return
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", config.model.base)
    assert config.model.transformer_dtype == ("bfloat16" if re.search("BF16|SANA1.5|Sprint", config.model.base) else "float16")
    assert (config.train.flow_shift, config.generate.flow_shift, config.train.weighting_scheme) == (3.0, 3.0, "logit_normal")
    assert (config.generate.scheduler == "scm") == ("Sprint" in config.model.base)
    assert config.generate.complex_human_instruction
    assert config.generate.vae_tile_size == 0 or config.generate.vae_tile_size >= 1024


def test_full_rank_is_trained_as_upstream_trains_it() -> None:
    """Section 2.1 of NVlabs' recipe for 2K, and the learning rate of its fine-tuning recipes."""
    train = load_config("sana_1600m_2k_full").train
    assert (train.trainer, train.optimizer, train.learning_rate, train.max_grad_norm, train.mixed_precision) == ("full", "came", 2e-5, 0.1, "bf16")
    assert train.gradient_checkpointing and train.weight_decay == 0


def test_what_a_recipe_shows_as_a_comment_is_valid() -> None:
    """Uncommented, every example loads; a comment that went stale would be found out by a user."""
    text = shipped_recipes()["sana_1600m_2k_full"].read_text()
    lines = [re.sub(r"^# (?=\[|[a-z_]+ = )", "", line) for line in text.splitlines()]
    values = tomllib.loads("\n".join(lines))
    config = RunConfig.model_validate(values)
    assert [stage.resolution for stage in config.train.stages] == [512, 1024, 2048]
    assert config.data.mix[0].share == 0.3 and config.train.regions.hand_weight == 4.0
