"""RunConfig: what a recipe says is what a run gets, and every mistake is named, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sana_bench.config import RunConfig, load_config, shipped_recipes
from sana_bench.errors import ConfigError


@pytest.fixture
def recipe(tmp_path: Path):
    def write(text: str, name: str = "mine.toml") -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)
    return write


def message_of(recipe: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(recipe, overrides)
    return str(caught.value)


def test_values_of_a_recipe_arrive_and_the_rest_keeps_its_default(recipe) -> None:
    config = load_config(recipe("[train]\nrank = 4\n[generate]\nheight = 1024\n"))
    assert (config.train.rank, config.generate.height) == (4, 1024)
    assert config.train.lora_alpha == RunConfig(name="x").train.lora_alpha
    assert config.generate.width == 2048


def test_models_of_ones_own_are_tables_of_the_recipe(recipe) -> None:
    text = '[[score.clip_model]]\nname = "mine"\nmodel = "ViT-B-32"\npretrained = "openai"\n[[score.clip_model]]\nname = "other"\nmodel = "local-dir:x"\n'
    assert [(each.name, each.pretrained, each.prefix) for each in load_config(recipe(text)).score.clip_model] == [("mine", "openai", ""), ("other", "", "")]
    assert 'score.clip_model.0.prefx: unknown key. Did you mean "prefix"?' in message_of(recipe('[[score.clip_model]]\nname = "m"\nmodel = "x"\nprefx = ""'))
    assert "score.clip_model.0.sha256" in message_of(recipe('[[score.clip_model]]\nname = "m"\nmodel = "x"\nsha256 = "abc"'))


def test_a_recipe_without_a_name_is_named_after_its_file(recipe) -> None:
    assert load_config(recipe("", "portraits.toml")).name == "portraits"
    assert load_config(recipe('name = "other"', "portraits.toml")).name == "other"


def test_default_recipe_is_tiny() -> None:
    assert load_config().name == "tiny"
    assert load_config() == load_config("tiny") == load_config(str(shipped_recipes()["tiny"]))


@pytest.mark.parametrize(("override", "value"), [
    ("train.rank=32", 32), ("train.learning_rate=1e-4", 1e-4), ("train.learning_rate=2", 2.0),
    ("generate.use_resolution_binning=true", True), ('train.target_modules=["to_q", "to_out.0"]', ("to_q", "to_out.0")),
    ("data.training=my photographs", "my photographs"), ('generate.negative_prompt="a, b = c"', "a, b = c"),
    ("generate.negative_prompt=", ""), ("run.store=/somewhere/else=odd", "/somewhere/else=odd"),
])
def test_overrides_are_typed(override: str, value: object) -> None:
    section, key = override.partition("=")[0].split(".")
    assert getattr(getattr(load_config("tiny", (override,)), section), key) == value


def test_the_last_override_wins_and_a_section_may_be_new(recipe) -> None:
    config = load_config(recipe(""), ("train.rank=2", "train.rank=3", "name=renamed"))
    assert (config.train.rank, config.name) == (3, "renamed")


def test_unknown_key_is_named_with_the_nearest_and_all_known() -> None:
    message = message_of("tiny", "train.max_train_stepz=3")
    assert 'train.max_train_stepz: unknown key. Did you mean "max_train_steps"?' in message
    assert "learning_rate" in message


def test_unknown_section_is_named_with_the_nearest() -> None:
    assert 'trian: unknown key. Did you mean "train"?' in message_of("tiny", "trian.rank=3")


def test_all_problems_are_reported_at_once(recipe) -> None:
    text = '[train]\nrank = "many"\nlearning_rate = -1.0\nstepz = 3\n[generate]\nheight = 100\nscheduler = "ddim"\n'
    message = message_of(recipe(text))
    assert "5 problem(s)" in message
    for key in ("train.rank", "train.learning_rate", "train.stepz", "generate.height", "generate.scheduler"):
        assert f"  {key}: " in message


@pytest.mark.parametrize(("override", "part"), [
    ("train.rank=0", "greater than 0"), ("train.rank=1.5", "integer"), ("train.rank=many", "got 'many'"),
    ("train.caption_dropout=1.0", "less than 1"), ("train.seed=9999999999999999999", "less than"), ("generate.height=2049", "multiple of 32"),
    ("model.vae_dtype=float16", "float32"), ("compare.confidence=0.4", "greater than 0.5"), ("train=3", "train: "),
    ("name=Not A Name", "pattern"), ("name=../up", "pattern"), ("train.target_modules=to_q", "  train.target_modules: Input should be a list, as [...] (got"),
    ("generate.vae_tile_stride=512", "must not exceed"), ("train.learning_rate=inf", "finite"), ("train.logit_mean=nan", "finite"),
    ("train.lr_warmup_steps=40", "lr_warmup_steps (40) leaves no step at the full learning rate in a stage of 40 steps"),
    ("train.augment.rotation=5.0", "rotation would do nothing"), ("train.weights=my.safetensors", "train.trainer=external"),
    ('train.command=["bash", "train.sh", "{output}"]', "train.command would do nothing"), ("run.device=gpu", "pattern"), ("run.device=cuda:one", "pattern"),
    ('compare.budgets=[{metrik="hand_rate", budget=1.0}]', 'Did you mean "metric"?'),
])
def test_wrong_types_and_values_are_refused_with_the_reason(override: str, part: str) -> None:
    assert part in message_of("tiny", override)


@pytest.mark.parametrize("override", ["train.rank", "", "=3", "train.=3"])
def test_an_override_of_another_form_is_refused(override: str) -> None:
    assert "--set takes section.key=value" in message_of("tiny", override)


def test_an_override_below_a_value_is_refused() -> None:
    assert '"rank" is a value, not a section' in message_of("tiny", "train.rank.more=3")


def test_unknown_recipe_names_the_nearest_and_the_shipped() -> None:
    message = message_of("tinny")
    assert 'no recipe "tinny"' in message and 'Did you mean "tiny"?' in message and "Shipped: " in message


def test_broken_toml_says_where(recipe) -> None:
    message = message_of(recipe("[train]\nrank = = 3\n"))
    assert "mine.toml is not TOML" in message and "line 2" in message


def test_a_recipe_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.toml").write_bytes(b"\x89PNG\xff\xfe")
    assert "is not TOML" in message_of(str(tmp_path / "image.toml"))


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    assert f'no recipe "{tmp_path}"' in message_of(str(tmp_path))


def test_a_config_cannot_be_changed_and_survives_a_round_trip() -> None:
    config = load_config()
    with pytest.raises(ValueError, match="frozen"):
        config.train.rank = 3
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize("again", ["photos/", "./photos", "~/photos"])
def test_a_source_is_given_once_however_it_is_written(again: str, monkeypatch) -> None:
    monkeypatch.setenv("HOME", ".")
    with pytest.raises(ConfigError, match="names a source twice"):
        load_config("tiny", ("data.training=photos", f'data.mix=[{{source="{again}", share=0.5}}]'))
