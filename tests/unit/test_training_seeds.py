"""Fine-tunes of several training seeds: what each is asked, and that a single one is what it was before there could be more."""

from __future__ import annotations

import pytest

from sana_bench.config import load_config
from sana_bench.errors import ConfigError
from sana_bench.train import checkpoint_digest
from sana_bench.training.lora import LoraTrainer
from sana_bench.training_seeds import fine_tunes_of
from tests.micro import write_run


def test_each_is_a_run_with_one_seed_of_its_own():
    config = load_config("tiny", ("train.num_seeds=3", "train.seed=-1"))
    made = fine_tunes_of(config)
    assert [(each.config.train.seed, each.config.train.num_seeds) for each in made] == [(-1, 1), (0, 1), (1, 1)]
    assert [each.label for each in made] == ["seed 1 of 3", "seed 2 of 3", "seed 3 of 3"]
    assert [each.prefix for each in made] == ["", "seed 0 ", "seed 1 "]
    assert all(each.config.model_copy(update={"train": config.train}) == config for each in made), "nothing but the seed"


def test_a_single_one_is_the_run_itself():
    config = load_config("tiny")
    (only,) = fine_tunes_of(config)
    assert (only.config, only.label, only.prefix) == (config, "", "")


def test_the_number_of_seeds_is_in_no_checkpoints_name(micro, tmp_path):
    """A store of before there were several stays good: what names a checkpoint does not mention their number."""
    recipe = str(write_run(tmp_path, **micro))
    one, three = (load_config(recipe, (f"train.num_seeds={number}",)) for number in (1, 3))
    settings, *_ = LoraTrainer().identity(one)
    assert "num_seeds" not in settings and settings["seed"] == 0
    assert checkpoint_digest(one) == checkpoint_digest(three) == checkpoint_digest(fine_tunes_of(three)[0].config)
    assert len({checkpoint_digest(each.config) for each in fine_tunes_of(three)}) == 3


@pytest.mark.parametrize("trainer", ["none", "external"])
def test_a_trainer_that_knows_no_seed_has_one(tmp_path, trainer):
    (tmp_path / "lora.safetensors").write_bytes(b"weights")
    options = (f"train.trainer={trainer}", f"train.weights={tmp_path / 'lora.safetensors'}")
    assert len(fine_tunes_of(load_config("tiny", options))) == 1
    with pytest.raises(ConfigError, match=f'num_seeds is 2, but the trainer "{trainer}" makes the same weights'):
        fine_tunes_of(load_config("tiny", (*options, "train.num_seeds=2")))
