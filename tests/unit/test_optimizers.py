"""Optimizers by name: each trains, and goes on from a file as if it had never stopped.

bitsandbytes is not among what the tests install, since diffusers loads it wherever it is, which costs every start seconds.
"""

from __future__ import annotations

import builtins
from importlib.util import find_spec

import pytest
import torch

from sana_bench.config import TrainSection
from sana_bench.errors import ConfigError
from sana_bench.training.checkpoints import load_training_state, save_training_state
from sana_bench.training.optimizers import build_optimizer
from sana_bench.training.trainee import Trainee
from sana_bench.workers import Background

needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (pip install sana-bench[optimizers])")
NAMES = ("adamw", pytest.param("adamw_8bit", marks=needs_bitsandbytes), "came")


def start(name: str) -> Trainee:
    generator = torch.Generator().manual_seed(0)
    weights = {shape: torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((80, 80), (80, 80, 1, 1), (7,))}
    weights = {f"layer{number}.weight": weight for number, weight in enumerate(weights.values())}  # 6400 values: more than 8-bit leaves in 32 bits
    return Trainee(weights, build_optimizer(TrainSection(optimizer=name, learning_rate=1e-2, weight_decay=0.0), weights.values()))


def train(trainee: Trainee, steps: int) -> float:
    for _ in range(steps):
        loss = sum((weight ** 2).mean() for weight in trainee.weights.values())
        loss.backward()
        trainee.optimizer.step()
        trainee.optimizer.zero_grad()
    return loss.item()


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls(name):
    trainee = start(name)
    assert train(trainee, 60) < 0.8 * train(start(name), 1)


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_optimizer_goes_on_bit_for_bit(name, tmp_path):
    unbroken, broken, again = start(name), start(name), start(name)
    train(unbroken, 6)
    train(broken, 3)
    with Background() as writer:
        save_training_state(tmp_path, broken, [0.0] * 3, "me", writer)
    assert load_training_state(tmp_path, again, "me") == [0.0] * 3
    train(again, 3)
    for mine, expected in zip(again.weights.values(), unbroken.weights.values(), strict=True):
        assert torch.equal(mine, expected)


@needs_bitsandbytes
def test_eight_bits_are_what_the_state_is_kept_in():
    trainee = start("adamw_8bit")
    train(trainee, 1)
    assert trainee.optimizer.state[trainee.weights["layer0.weight"]]["state1"].dtype == torch.uint8


def test_came_keeps_one_number_a_row_and_column_of_the_second_moment_of_1x1_convolutions_too():
    trainee = start("came")
    train(trainee, 1)
    for name in ("layer0.weight", "layer1.weight"):
        state = trainee.optimizer.state[trainee.weights[name]]
        assert state["exp_avg_sq_row"].shape == state["exp_avg_sq_col"].shape == (80,)
    assert trainee.weights["layer1.weight"].shape == (80, 80, 1, 1)


def test_came_steps_a_1x1_convolution_as_the_matrix_that_it_is():
    matrix, convolution = torch.nn.Parameter(torch.randn(6, 5)), torch.nn.Parameter(torch.zeros(6, 5, 1, 1))
    convolution.data = matrix.data.clone().reshape(6, 5, 1, 1)
    trainee = Trainee({"matrix": matrix}, build_optimizer(TrainSection(optimizer="came", learning_rate=1e-2), [matrix]))
    other = Trainee({"convolution": convolution}, build_optimizer(TrainSection(optimizer="came", learning_rate=1e-2), [convolution]))
    train(trainee, 3)
    train(other, 3)
    assert torch.allclose(convolution.detach().reshape(6, 5), matrix.detach())


@pytest.mark.parametrize(("name", "package", "install"), [("adamw_8bit", "bitsandbytes", "pip install bitsandbytes"), ("came", "came_pytorch", "pip install came-pytorch")])
def test_a_missing_package_is_one_error_that_says_how_to_get_it(name, package, install, monkeypatch):
    real = builtins.__import__

    def without(wanted, *rest):
        if wanted.partition(".")[0] == package:
            raise ImportError(f"No module named {wanted!r}")
        return real(wanted, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=install):
        start(name)
