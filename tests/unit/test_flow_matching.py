"""Sana's objective: closed forms and parity with diffusers."""

from __future__ import annotations

import pytest
import torch

from sana_bench.training.flow_matching import draw_sigmas, flow_matching_loss, shift_sigmas


class Oracle(torch.nn.Module):
    """Predicts noise - data exactly, from the noisy latents and the known data."""

    def __init__(self, data: torch.Tensor):
        super().__init__()
        self.data = data

    def forward(self, noisy, *, timestep, **rest):
        sigma = (timestep / 1000).view(-1, 1, 1, 1)
        noise = (noisy - (1 - sigma) * self.data) / sigma
        return (noise - self.data,)


def test_the_true_flow_has_no_loss():
    data, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    loss = flow_matching_loss(Oracle(data), data, noise, torch.tensor([0.3, 0.9]), torch.zeros(2, 1, 1), torch.ones(2, 1))
    assert loss.item() == pytest.approx(0.0, abs=1e-8)


def test_predicting_nothing_costs_the_power_of_the_flow():
    class Zero(torch.nn.Module):
        def forward(self, noisy, **rest):
            return (torch.zeros_like(noisy),)

    data, noise = torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 2, 2), 1.0)  # (1 - 3)^2 = 4
    loss = flow_matching_loss(Zero(), data, noise, torch.tensor([0.5]), torch.zeros(1, 1, 1), torch.ones(1, 1))
    assert loss.item() == 4.0


def test_shift_equals_the_scheduler_that_samples():
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0)
    plain = torch.linspace(1, 1000, 1000).flip(0) / 1000
    assert torch.allclose(shift_sigmas(plain, 3.0), scheduler.sigmas.to(torch.float32), atol=1e-6)


def test_shift_keeps_the_ends_and_raises_the_middle():
    assert shift_sigmas(torch.tensor([0.0, 0.5, 1.0]), 3.0).tolist() == [0.0, 0.75, 1.0]  # 3*.5 / (1 + 2*.5)
    assert shift_sigmas(torch.tensor([0.2]), 1.0).item() == pytest.approx(0.2)


def test_logit_normal_noise_levels_have_the_median_that_shift_gives():
    sigmas = draw_sigmas(20_001, torch.Generator().manual_seed(0), flow_shift=3.0)
    assert ((sigmas > 0) & (sigmas < 1)).all()
    assert sigmas.median().item() == pytest.approx(0.75, abs=0.01)  # sigmoid(0) = 0.5, shifted


def test_uniform_noise_levels():
    sigmas = draw_sigmas(20_001, torch.Generator().manual_seed(0), flow_shift=1.0, weighting_scheme="none")
    assert sigmas.mean().item() == pytest.approx(0.5, abs=0.01)
    assert sigmas.std().item() == pytest.approx(12 ** -0.5, abs=0.01)


def test_mode_weighting_is_that_of_diffusers():
    from diffusers.training_utils import compute_density_for_timestep_sampling

    theirs = compute_density_for_timestep_sampling("mode", 20_001, mode_scale=1.29, generator=torch.Generator().manual_seed(0))
    mine = draw_sigmas(20_001, torch.Generator().manual_seed(0), flow_shift=1.0, weighting_scheme="mode", mode_scale=1.29)
    assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("scheme", ["logit_normal", "none"])
def test_other_weightings_are_distributed_as_those_of_diffusers(scheme):
    from diffusers.training_utils import compute_density_for_timestep_sampling

    theirs = compute_density_for_timestep_sampling(scheme, 40_000, logit_mean=0.3, logit_std=0.8, generator=torch.Generator().manual_seed(1))
    mine = draw_sigmas(40_000, torch.Generator().manual_seed(2), flow_shift=1.0, weighting_scheme=scheme, logit_mean=0.3, logit_std=0.8)
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    assert torch.allclose(mine.quantile(levels), theirs.quantile(levels), atol=0.02)


def test_mode_with_a_scale_of_nought_is_uniform():
    mine = draw_sigmas(20_001, torch.Generator().manual_seed(0), flow_shift=1.0, weighting_scheme="mode", mode_scale=0.0)
    plain = draw_sigmas(20_001, torch.Generator().manual_seed(0), flow_shift=1.0, weighting_scheme="none")
    assert torch.allclose(mine, 1 - plain, atol=1e-6)


class Zero(torch.nn.Module):
    """Predicts no flow at all."""

    def forward(self, noisy, **rest):
        return (torch.zeros_like(noisy),)


def loss_of(latents: torch.Tensor, weights: torch.Tensor | None) -> float:
    """With noise of 0 the squared error of `Zero` is that of the latents."""
    number = len(latents)
    return flow_matching_loss(Zero(), latents, torch.zeros_like(latents), torch.full((number,), 0.5), torch.zeros(number, 1, 1), torch.ones(number, 1), weights).item()


def test_weights_that_are_the_same_everywhere_change_nothing():
    latents = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    assert loss_of(latents, torch.full((2, 1, 3, 3), 7.0)) == pytest.approx(loss_of(latents, None), rel=1e-6)


def test_weights_count_places_in_proportion_and_each_image_the_same():
    # first image: errors 1 and 9 with weights 1 and 3 -> (1 + 27) / 4 = 7; second: errors 4 and 4, whatever the weights -> 4; mean 5.5
    latents = torch.tensor([[[[1.0, 3.0]]], [[[2.0, 2.0]]]])
    assert loss_of(latents, torch.tensor([[[[1.0, 3.0]]], [[[50.0, 1.0]]]])) == pytest.approx(5.5)


def test_only_what_the_transformer_takes_is_in_its_dtype():
    """A target in bfloat16 would be off by its rounding, whatever the transformer predicts."""
    seen = []

    class Exact(torch.nn.Module):
        def forward(self, noisy, **rest):
            seen.append(noisy.dtype)
            return (torch.full_like(noisy, 2.0),)

    data, noise = torch.full((1, 1, 2, 2), 1.0), torch.full((1, 1, 2, 2), 3.001)  # 3.001 is 3.0 in bfloat16
    loss = flow_matching_loss(Exact(), data, noise, torch.tensor([0.5]), torch.zeros(1, 1, 1, dtype=torch.bfloat16), torch.ones(1, 1))
    assert seen == [torch.bfloat16] and loss.item() == pytest.approx(0.001 ** 2, rel=1e-3)
