"""Every registered trainer: it names what decides its weights, cheaply, and what it says of itself is used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sana_bench.config import load_config
from sana_bench.pipeline import train_stage
from sana_bench.train import checkpoint_digest
from sana_bench.training import TRAINERS
from tests.micro import write_run

TRAINERS_WITHOUT_WEIGHTS = [name for name in TRAINERS.names() if name != "external"]


@pytest.mark.parametrize("name", TRAINERS.names())
def test_it_explains_itself(name: str) -> None:
    entry = TRAINERS.get(name)
    assert entry.name == name and entry.version >= 1 and (entry.make.__doc__ or "").strip().endswith(".")


def test_names_and_identities_need_no_torch() -> None:
    code = ("import sys; from sana_bench.config import load_config; from sana_bench.training import TRAINERS\n"
            "[TRAINERS.get(name).make().identity(load_config('tiny')) for name in TRAINERS.names() if name != 'external']\n"
            "assert 'torch' not in sys.modules")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", TRAINERS_WITHOUT_WEIGHTS)
def test_its_checkpoint_is_complete_and_found_again(name: str, micro, tmp_path) -> None:
    config = load_config(str(write_run(tmp_path, **micro)), (f"train.trainer={name}",))
    (checkpoint,) = train_stage(config)
    assert (checkpoint.trainer, checkpoint.digest) == (name, checkpoint_digest(config))
    assert (checkpoint.weights_file == "") == (checkpoint.kind == "base") == (checkpoint.weights_sha256 == "")
    assert train_stage(config) == [checkpoint]
    assert json.loads(checkpoint.model_dump_json())["base_digest"] == checkpoint.base_digest
