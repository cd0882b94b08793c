"""Trains recipes, one after the other, in each of the processes that a launcher starts with this file.

    accelerate launch --config_file ddp.yaml --num_processes 2 tests/together.py RUNS.json

RUNS.json holds pairs of a recipe and its overrides. One start serves many trainings: it takes much longer than they do.
"""

import json
import sys
from pathlib import Path

from sana_bench.config import load_config
from sana_bench.store import Store
from sana_bench.train import train

for recipe, overrides in json.loads(Path(sys.argv[1]).read_text()):
    config = load_config(recipe, tuple(overrides))
    train(config, Store(config.run.store))
