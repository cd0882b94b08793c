"""The training loop: resumed runs repeat unbroken ones bit for bit, and a loss that is not finite stops before any harm."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
import torch

from sana_bench.errors import StoreError, TrainingError
from sana_bench.store import written_whole
from sana_bench.training import checkpoints
from sana_bench.training.checkpoints import STATE_FILE, load_training_state, save_training_state
from sana_bench.training.loop import LoopSettings, learning_rate_at, run_loop, step_generator
from sana_bench.training.trainee import Trainee
from sana_bench.workers import Background

SEED = 3
SETTINGS = LoopSettings(total_steps=6, learning_rate=0.1, checkpoint_every=2, schedule="linear")


class Stop(Exception):
    """Stands for a kill."""


def problem():
    weight = torch.nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.AdamW([weight], lr=0.1)

    def compute_loss(step: int, number: int) -> torch.Tensor:
        return (weight - torch.randn(4, generator=step_generator(SEED, step))).square().sum()

    return weight, optimizer, compute_loss


def run(folder, settings=SETTINGS, stop_after=None, identity="run"):
    weight, optimizer, compute_loss = problem()

    def after_step(step: int) -> None:
        if step == stop_after:
            raise Stop

    losses = run_loop(settings, Trainee({"weight": weight}, optimizer), compute_loss, folder, identity, after_step)
    return weight.detach(), losses


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5])
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path, stop_after):
    expected_weight, expected_losses = run(tmp_path / "unbroken")
    with pytest.raises(Stop):
        run(tmp_path / "broken", stop_after=stop_after)
    weight, losses = run(tmp_path / "broken")
    assert torch.equal(weight, expected_weight)
    assert losses == expected_losses


def test_a_finished_run_does_no_step_again(tmp_path):
    weight, losses = run(tmp_path)
    with_stop = run(tmp_path, stop_after=1)  # would raise if any step ran
    assert torch.equal(with_stop[0], weight) and with_stop[1] == losses


def test_a_state_of_another_run_is_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(TrainingError, match="another run"):
        run(tmp_path, identity="other")


def test_a_state_of_other_weights_is_refused(tmp_path):
    """Frozen layers that were trained before, or the other way round: half of the state would be lost without a word."""
    weights = {name: torch.zeros(2, requires_grad=True) for name in ("a", "b")}
    optimizer = torch.optim.AdamW(weights.values())
    trainee = Trainee(weights, optimizer)
    with Background() as writer:
        save_training_state(tmp_path, trainee, [1.0], "me", writer)
    fewer = {"a": torch.zeros(2, requires_grad=True)}
    with pytest.raises(TrainingError, match="other weights than are trained now.*b"):
        load_training_state(tmp_path, Trainee(fewer, torch.optim.AdamW(fewer.values())), "me")
    assert load_training_state(tmp_path, trainee, "me") == [1.0]


def test_a_damaged_state_is_one_clear_error(tmp_path):
    run(tmp_path)
    path = tmp_path / STATE_FILE
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TrainingError, match="damaged"):
        run(tmp_path)


def test_a_loss_that_is_not_finite_stops_before_the_optimizer_sees_it(tmp_path):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=0.1)

    def compute_loss(step: int, number: int) -> torch.Tensor:
        return weight.sum() * (float("nan") if step == 1 else 1.0)

    settings = LoopSettings(total_steps=3, learning_rate=0.1, checkpoint_every=1)
    with pytest.raises(TrainingError, match="nan at step 1"):
        run_loop(settings, Trainee({"weight": weight}, optimizer), compute_loss, tmp_path, "x")
    assert torch.isfinite(weight).all()


def test_a_gradient_that_is_not_finite_stops_before_the_optimizer_sees_it(tmp_path):
    weight = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(TrainingError, match="gradient's norm is .* at step 0"):
        run_loop(LoopSettings(total_steps=1, learning_rate=0.1), Trainee({"weight": weight}, torch.optim.AdamW([weight], lr=0.1)),
                 lambda step, number: weight.sqrt().sum(), tmp_path, "x")  # 1 / 0
    assert torch.equal(weight, torch.zeros(2)) and not (tmp_path / STATE_FILE).exists()


def test_accumulated_batches_give_the_gradient_of_their_mean(tmp_path):
    # loss k is c_k * w; with plain SGD, lr 1 and no clipping, w falls by the mean of the c_k
    weight = torch.nn.Parameter(torch.zeros(1))
    factors = iter([0.2, 0.6])
    settings = LoopSettings(total_steps=1, learning_rate=1.0, gradient_accumulation_steps=2)
    run_loop(settings, Trainee({"weight": weight}, torch.optim.SGD([weight], lr=1.0)), lambda step, number: (weight * next(factors)).sum(), tmp_path, "x")
    assert weight.item() == pytest.approx(-0.4)


class OneOfSeveral:
    """Stands for accelerate in one of several processes: whether gradients are being kept back."""

    is_main_process, keeps_back = True, False
    clip_grad_norm_ = staticmethod(torch.nn.utils.clip_grad_norm_)

    @contextmanager
    def no_sync(self, model):
        self.keeps_back = True
        yield
        self.keeps_back = False

    def backward(self, loss: torch.Tensor) -> None:
        self.kept_back_at_backward = self.keeps_back
        loss.backward()

    def reduce(self, loss: torch.Tensor, how: str) -> torch.Tensor:
        return loss

    def wait_for_everyone(self) -> None:
        return


def test_gradients_are_averaged_in_the_last_batch_of_a_step_alone(tmp_path):
    """DDP decides in the forward pass whether the backward pass sends gradients."""
    weight, group, seen = torch.nn.Parameter(torch.zeros(1)), OneOfSeveral(), []

    def compute_loss(step: int, number: int) -> torch.Tensor:
        seen.append(group.keeps_back)
        return weight.sum()

    settings = LoopSettings(total_steps=2, learning_rate=1.0, gradient_accumulation_steps=3)
    run_loop(settings, Trainee({"weight": weight}, torch.optim.SGD([weight], lr=1.0), accelerator=group), compute_loss, tmp_path, "x")
    assert seen == [True, True, False] * 2 and not group.kept_back_at_backward


def test_steps_draw_differently_and_each_step_always_the_same():
    draws = [torch.randn(3, generator=step_generator(seed, step)) for seed, step in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert torch.equal(draws[0], draws[3])
    assert not torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_learning_rate_schedules():
    rate = dict(base=1.0, warmup_steps=2, total_steps=12)
    assert [learning_rate_at(step, schedule="constant", **rate) for step in (0, 1, 2, 11)] == [0.5, 1.0, 1.0, 1.0]
    assert learning_rate_at(7, schedule="linear", **rate) == pytest.approx(0.5)  # half of the ten falling steps
    assert learning_rate_at(7, schedule="cosine", **rate) == pytest.approx(0.5)
    assert learning_rate_at(2, schedule="cosine", **rate) == 1.0


def test_a_state_is_as_it_was_when_it_was_saved_though_training_goes_on(tmp_path):
    """It is written by another thread, from copies: what the next step does to the weights is not in it."""
    weight = torch.nn.Parameter(torch.zeros(3))
    trainee, go_on = Trainee({"weight": weight}, torch.optim.SGD([weight], lr=1.0)), threading.Event()
    with Background() as writer:
        writer.do(go_on.wait)
        saver = threading.Thread(target=save_training_state, args=(tmp_path, trainee, [1.0], "me", writer))
        go_on.set()
        saver.start()
        saver.join()
        weight.data += 7.0
    load_training_state(tmp_path, trainee, "me")
    assert torch.equal(weight.detach(), torch.zeros(3))


def test_a_state_is_copied_once_the_one_before_is_written(tmp_path, monkeypatch):
    """Full rank has copies of tens of gigabytes: two at a time may not fit into memory."""
    order, copy = [], checkpoints.whole_by_name

    class Noting(Background):
        def wait(self) -> None:
            order.append("wait")
            super().wait()

    def noting(*arguments, **options):
        order.append("copy")
        return copy(*arguments, **options)

    monkeypatch.setattr(checkpoints, "whole_by_name", noting)
    weight = torch.nn.Parameter(torch.zeros(3))
    with Noting() as writer:
        save_training_state(tmp_path, Trainee({"weight": weight}, torch.optim.SGD([weight], lr=1.0)), [1.0], "me", writer)
    assert order[:2] == ["wait", "copy"]


def test_what_a_kill_left_of_a_state_is_removed(tmp_path):
    """Of full rank it is a dozen gigabytes, at each kill."""
    class Killed(BaseException):
        """Stands for one: nothing is tidied up."""

    with pytest.raises(Killed), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sana_bench.store._remove_quietly", lambda path: None)
        with written_whole(tmp_path / STATE_FILE) as temporary:
            temporary.write_bytes(b"half a state")
            raise Killed
    other = tmp_path / ".other.safetensors.1234"
    other.write_bytes(b"not ours")
    assert len(list(tmp_path.iterdir())) == 2
    run(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {STATE_FILE, other.name}


def test_a_state_that_cannot_be_written_ends_training_with_that_error(tmp_path):
    (tmp_path / "file").write_text("no folder")
    weight = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(StoreError, match="cannot write"):
        run_loop(LoopSettings(total_steps=3, learning_rate=0.1, checkpoint_every=1), Trainee({"weight": weight}, torch.optim.SGD([weight], lr=1.0)),
                 lambda step, number: weight.sum(), tmp_path / "file", "me")
