"""The optimizer of tiny-sana: against torch's own Muon and AdamW, on 1x1 convolutions, and through a checkpoint."""

from __future__ import annotations

import torch
from torch import nn

from sana_bench.tiny.muon import MuonAdamW, orthogonalise, split_parameters
from sana_bench.training.checkpoints import load_training_state, save_training_state
from sana_bench.training.trainee import Trainee
from sana_bench.workers import Background

SETTINGS = dict(lr=0.01, weight_decay=0.01)


def train(optimizers: list[torch.optim.Optimizer], weight: nn.Parameter, steps: int = 5) -> torch.Tensor:
    """Fit a matrix that is not reachable in so few steps, and return the weight."""
    target = torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))
    for _ in range(steps):
        (weight - target).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return weight.detach()


def start(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(1)))


def test_singular_values_end_near_one():
    for shape in ((48, 48), (96, 24), (24, 96)):
        values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(3))))
        assert 0.6 < values.median() < 1.3 and values.max() < 1.3


def test_a_matrix_takes_the_steps_of_torchs_muon():
    own, theirs = start(64, 32), start(64, 32)
    ours = train([MuonAdamW([own], [], **SETTINGS)], own)
    peer = train([torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **SETTINGS)], theirs)
    moved = (peer - start(64, 32).detach()).norm()
    assert (ours - peer).norm() < 0.02 * moved  # theirs orthogonalises in bfloat16


def test_everything_else_takes_the_steps_of_adamw():
    own, theirs = start(64, 32), start(64, 32)
    assert torch.equal(train([MuonAdamW([], [own], **SETTINGS)], own), train([torch.optim.AdamW([theirs], **SETTINGS)], theirs))


def test_a_1x1_convolution_is_a_matrix():
    convolution, matrix = start(64, 32, 1, 1), start(64, 32)
    ours = train([MuonAdamW([convolution], [], **SETTINGS)], convolution)
    assert torch.equal(ours.flatten(1), train([MuonAdamW([matrix], [], **SETTINGS)], matrix))


def test_only_matrices_of_the_blocks_are_taken():
    block = nn.Sequential(nn.Linear(4, 4), nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.LayerNorm(8), nn.Embedding(9, 8))
    module = nn.ModuleDict({"blocks": block, "head": nn.Linear(8, 2)})
    matrices, others = split_parameters(module, ("blocks",))
    assert [id(each) for each in matrices] == [id(block[0].weight), id(block[1].weight)]
    assert {id(each) for each in matrices + others} == {id(each) for each in module.parameters()}


def test_a_checkpoint_goes_on_as_if_unbroken(tmp_path):
    whole, broken = start(8, 8), start(8, 8)
    expected = train([MuonAdamW([whole], [], **SETTINGS)], whole, steps=6)
    optimizer = MuonAdamW([broken], [], **SETTINGS)
    train([optimizer], broken, steps=3)
    with Background() as writer:
        save_training_state(tmp_path, Trainee({"weight": broken}, optimizer), [0.0] * 3, "same", writer)
    again = start(8, 8)
    optimizer = MuonAdamW([again], [], **SETTINGS)
    load_training_state(tmp_path, Trainee({"weight": again}, optimizer), "same")
    assert torch.equal(train([optimizer], again, steps=3), expected)
