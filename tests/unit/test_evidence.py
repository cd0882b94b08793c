"""Evidence: calibration that orders and is calibrated, scores that count missing parts, a network that learns where damage is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sana_bench.errors import AssetError, ConfigError
from sana_bench.evidence.build import build_evidence
from sana_bench.evidence.material import Example, learned_kinds, take_of
from sana_bench.evidence.plausibility import (
    PARTS, calibration_document, fit_calibration, image_plausibility, load_calibration)
from sana_bench.features.evidence import COPIES, copy_matrix
from sana_bench.features.upright_view import FACE, HAND, MAP, SIDE, transformed
from sana_bench.shape import fit_shapes
from sana_bench.split import CALIBRATION_PEOPLE, HELD_OUT_PEOPLE, LEARNED_KINDS


def shapes():
    draw = np.random.default_rng(0)
    return fit_shapes(draw.normal(size=(40, 15)), [], 12, "hand(s)")


def evidence_of(number: int, damage: float, seed: int) -> np.ndarray:
    """(N, 3) parts that rise with damage, each with noise of its own; the last part is not a number now and then."""
    draw = np.random.default_rng(seed)
    parts = damage * np.array([1.5, 0.5, 0.0]) + draw.normal(size=(number, 3))
    parts[::7, 2] = np.nan
    return parts


def fitted():
    parts = np.concatenate([evidence_of(400, 0, 1), evidence_of(1600, 1, 2)])
    return fit_calibration("hand", shapes(), parts, np.arange(2000) < 400)


def test_plausibility_is_calibrated_for_as_many_whole_as_damaged() -> None:
    """Of parts with a plausibility near p, a share near p is whole. New evidence; four times as many damaged in the fit change nothing."""
    parts = np.concatenate([evidence_of(20_000, 0, 3), evidence_of(20_000, 1, 4)])
    value, whole = fitted().plausibility(parts), np.arange(40_000) < 20_000
    for low in (0.1, 0.3, 0.5, 0.7, 0.9):
        inside = (value > low - 0.05) & (value < low + 0.05)
        assert whole[inside].mean() == pytest.approx(low, abs=0.06)


def test_more_of_any_part_is_never_more_plausible() -> None:
    """A part that tells nothing gets no weight rather than a negative one."""
    calibration = fitted()
    assert (calibration.weight_K >= 0).all() and calibration.weight_K[0] > calibration.weight_K[1] > 0
    for part in range(3):
        grid = np.zeros((50, 3))
        grid[:, part] = np.linspace(-5, 5, 50)
        assert (np.diff(calibration.plausibility(grid)) <= 0).all()


def test_a_part_that_is_no_number_counts_as_a_usual_one() -> None:
    calibration = fitted()
    usual = np.tile(calibration.centre_K, (1, 1))
    missing = usual.copy()
    missing[0, 0] = np.nan
    assert calibration.plausibility(missing) == pytest.approx(calibration.plausibility(usual))


def test_a_calibration_comes_back_from_its_document(tmp_path) -> None:
    calibration, path = fitted(), tmp_path / "hand.json"
    path.write_text(calibration_document(calibration, {"people": ["P1"]}))
    parts = evidence_of(50, 0.5, 6)
    assert load_calibration("hand", path).plausibility(parts) == pytest.approx(calibration.plausibility(parts), abs=1e-4)


@pytest.mark.parametrize("text", ["", "{}", '{"bias": 1, "parts": {}, "shape": {}}'])
def test_a_damaged_calibration_is_one_clear_error(tmp_path, text: str) -> None:
    path = tmp_path / "hand.json"
    path.write_text(text)
    with pytest.raises(AssetError, match="damaged.*build-evidence"):
        load_calibration("hand", path)


@pytest.mark.parametrize(("found", "expected", "value"), [
    ([], 2, 0), ([0.8], 2, 0.4), ([0.8, 0.2], 2, 0.5), ([0.8, 0.2], 1, 0.8), ([0.9, 0.9, 0.1], 2, 0.9), ([0.6], 1, 0.6)])
def test_an_image_counts_missing_parts_as_nothing(found: list[float], expected: int, value: float) -> None:
    assert image_plausibility(found, expected) == pytest.approx(value)


def test_losing_a_part_never_raises_the_score_of_an_image() -> None:
    """Survivor bias: whatever hand a detector no longer finds, the image is not better for it."""
    draw = np.random.default_rng(0)
    for _ in range(200):
        values, expected = draw.random(int(draw.integers(1, 5))), int(draw.integers(1, 4))
        for lost in range(len(values)):
            assert image_plausibility(np.delete(values, lost), expected) <= image_plausibility(values, expected) + 1e-12


def test_altered_copies_of_a_view_are_moves_about_its_middle() -> None:
    middle = np.full((1, 2), SIDE / 2)
    for copy in COPIES:
        matrix = copy_matrix(*copy)
        assert transformed(middle, matrix) == pytest.approx(middle)
        assert np.linalg.det(matrix[:, :2]) == pytest.approx(copy[1] ** 2 * (-1 if copy[2] else 1))


def test_nothing_is_learned_from_held_out_kinds_or_people() -> None:
    for part in (HAND, FACE):
        assert learned_kinds(part) and set(learned_kinds(part)) <= LEARNED_KINDS
    assert not set(CALIBRATION_PEOPLE) & set(HELD_OUT_PEOPLE)
    for part in ("hand", "face", "body"):
        document = json.loads(load_shipped(part))
        people = document["people"] if part == "body" else sum(document["people"].values(), [])
        assert people and not set(people) & set(HELD_OUT_PEOPLE)
        assert part == "body" or not set(document["people"]["shapes"]) & set(document["people"]["weights"])


def load_shipped(part: str) -> str:
    from sana_bench.evidence import calibration_file

    return calibration_file(part).read_text()


def test_shipped_weights_are_half_precision_safetensors() -> None:
    from safetensors.numpy import load_file

    from sana_bench.evidence import network_file

    for part in PARTS:
        arrays = load_file(network_file(part))
        assert {array.dtype for array in arrays.values() if array.dtype.kind == "f"} == {np.dtype(np.float16)}
        assert all(np.isfinite(array.astype(np.float32)).all() for array in arrays.values())
        assert network_file(part).stat().st_size < 4_000_000


def test_a_take_is_the_window_around_a_part_at_one_size() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8)
    points = np.array([[400.0, 300.0], [840.0, 500.0]])
    take = take_of("P1", pixels, points, False)
    assert np.ptp(take.points_N2, axis=0).max() == pytest.approx(220)
    assert take.window_HW3.shape[1] == pytest.approx(900 * 0.5, abs=2)
    small = take_of("P1", pixels, points / 4, False)
    assert np.ptp(small.points_N2, axis=0).max() == pytest.approx(110)


def painted(draw: np.random.Generator, damaged: bool) -> Example:
    """A grey view with a bright square where it is damaged."""
    view, damage = np.full((SIDE, SIDE, 3), 110, np.uint8), np.zeros((MAP, MAP), np.uint8)
    view = (view + draw.integers(-12, 12, view.shape)).astype(np.uint8)
    if damaged:
        row, column = draw.integers(6, MAP - 10, 2)
        view[row * 8:row * 8 + 32, column * 8:column * 8 + 32] = (250, 40, 40)
        damage[row:row + 4, column:column + 4] = 255
    points = np.concatenate([draw.uniform(60, 160, (21, 2)), np.zeros((21, 1))], axis=1).astype(np.float32)
    return Example(view, damage, points, 3 if damaged else 0, "P1")


def test_augmentation_moves_the_damage_with_the_view() -> None:
    from sana_bench.evidence.training import augmented

    compared = 0
    for seed in range(12):
        draw = np.random.default_rng(seed)
        moved = augmented(painted(draw, True), draw)
        reddish = (moved.view[..., 0].astype(int) - moved.view[..., 2]).reshape(MAP, 8, MAP, 8).mean(axis=(1, 3))
        if moved.damage.max() < 200 or reddish.max() < 60:
            continue
        rows, columns = np.mgrid[:MAP, :MAP]
        seen, said = ([(axis * weight).sum() / weight.sum() for axis in (rows, columns)]
                      for weight in ((reddish > 0.6 * reddish.max()).astype(float), (moved.damage > 128).astype(float)))
        assert seen == pytest.approx(said, abs=1.0)
        compared += 1
    assert compared >= 6  # of those whose square stayed inside and clear of the exposure


def test_a_network_learns_where_damage_is_and_goes_on_after_a_kill(tmp_path, monkeypatch) -> None:
    import torch

    from sana_bench.evidence import training
    from sana_bench.evidence.training import collate, train_network

    monkeypatch.setattr(training, "BATCH_SIZE", 6)

    draw = np.random.default_rng(0)
    examples = [painted(draw, index % 2 == 0) for index in range(24)]

    class Killed(Exception):
        pass

    def kill(step: int) -> None:
        if step == 9:
            raise Killed

    whole, losses = train_network(HAND, examples, tmp_path / "a", total_steps=14, identity="x")
    with pytest.raises(Killed):
        train_network(HAND, examples, tmp_path / "b", total_steps=14, identity="x", after_step=kill, checkpoint_every=7)
    resumed, again = train_network(HAND, examples, tmp_path / "b", total_steps=14, identity="x", checkpoint_every=7)
    assert again == losses
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
    assert np.mean(losses[-4:]) < 0.75 * np.mean(losses[:4])
    views, damage, skeletons = collate(HAND, [painted(draw, True) for _ in range(6)])
    with torch.inference_mode():
        maps, _ = whole(views, skeletons)
    inside = maps[damage > 0.5].mean()
    assert inside > maps[damage == 0].mean() + 0.5


@pytest.mark.parametrize(("parts", "steps", "message"), [(("hnad",), None, 'Did you mean "hand"'), ((), 0, "--steps")])
def test_a_wrong_build_is_refused(tmp_path, parts: tuple[str, ...], steps: int | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_evidence(tmp_path, tmp_path, parts, steps)


@pytest.mark.parametrize("part", [HAND, FACE])
def test_the_network_for_inference_answers_as_the_trained_one(part) -> None:
    """Batch statistics are multiplied in, so that none is left; up to rounding nothing changes."""
    import torch

    from sana_bench.evidence.network import for_inference, load_network

    network = load_network(part)
    quick, draw = for_inference(network), torch.Generator().manual_seed(0)
    views, skeletons = torch.rand(2, 3, SIDE, SIDE, generator=draw) * 255, torch.rand(2, len(part.lines), MAP, MAP, generator=draw)
    with torch.inference_mode():
        for one, other in zip(network(views, skeletons), quick(views, skeletons), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in quick.modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules()), "the given one is left alone"
