"""Training of a part's network: a map of the damage and one logit a view, from half whole and half damaged views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from sana_bench.evidence.material import Example
from sana_bench.evidence.network import DamageNet
from sana_bench.features.upright_view import MAP, SIDE, Part, skeleton_map, transformed
from sana_bench.training.loop import LoopSettings, run_loop, step_generator
from sana_bench.training.trainee import Trainee

BATCH_SIZE = 32
SEED = 5
SETTINGS = dict(learning_rate=2e-3, warmup_steps=60, schedule="cosine")
TRUNK_LR_SCALE = 0.2
WEIGHT_DECAY = 0.02
DOSE_WEIGHTS = (0.5, 1.0, 1.3, 1.3)
"""Hardly visible damage is drawn less often: much of it nobody could tell."""
DAMAGED_SHARE = 0.15
"""From this share of damaged pixels on, a cell of the map counts as damaged."""
RARE = 3.0
"""Weight of damaged cells, which are few."""


def train_network(part: Part, examples: Sequence[Example], folder: Path, *, total_steps: int, identity: str,
                  checkpoint_every: int = 100, after_step: Callable[[int], None] = lambda step: None) -> tuple[DamageNet, list[float]]:
    """The trained network and the loss of every step; goes on from the checkpoint in `folder`."""
    torch.manual_seed(SEED)
    network = DamageNet(part).train().to(memory_format=torch.channels_last)
    weights = {name: value for name, value in network.named_parameters() if value.requires_grad}
    trunk, head = ([value for name, value in weights.items() if name.startswith("blocks.") is inside] for inside in (True, False))
    optimizer = torch.optim.AdamW([dict(params=trunk, lr_scale=TRUNK_LR_SCALE), dict(params=head)],
                                  lr=SETTINGS["learning_rate"], weight_decay=WEIGHT_DECAY)
    doses = np.array([example.dose for example in examples])
    whole, damaged = np.flatnonzero(doses == 0), np.flatnonzero(doses)
    likely = np.array(DOSE_WEIGHTS)[doses[damaged] - 1]

    def compute_loss(step: int, number: int) -> torch.Tensor:
        generator = step_generator(SEED, step)
        seed = int(torch.randint(2**31, (1,), generator=generator))
        draw = np.random.default_rng(seed)
        torch.manual_seed(seed)  # dropout
        picked = np.concatenate([draw.choice(damaged, BATCH_SIZE // 2, p=likely / likely.sum()), draw.choice(whole, BATCH_SIZE // 2)])
        views, damage, skeletons = collate(part, [augmented(examples[index], draw) for index in picked])
        with torch.autocast("cpu", torch.bfloat16):
            maps, logits = network(views, skeletons)
        by_cell = F.binary_cross_entropy_with_logits(maps.float(), (damage > DAMAGED_SHARE).float(), pos_weight=torch.tensor(RARE))
        return 2 * by_cell + F.binary_cross_entropy_with_logits(logits.float(), torch.from_numpy(doses[picked] > 0).float())

    settings = LoopSettings(**SETTINGS, total_steps=total_steps, checkpoint_every=checkpoint_every, description=f"{part.name} evidence")
    losses = run_loop(settings, Trainee(weights, optimizer), compute_loss, folder, identity, after_step)
    return network.eval(), losses


def collate(part: Part, examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(B, 3, SIDE, SIDE) in [0, 255], (B, MAP, MAP) in [0, 1] and (B, L, MAP, MAP), all float32."""
    views = np.stack([example.view for example in examples]).astype(np.float32).transpose(0, 3, 1, 2)
    damage = np.stack([example.damage for example in examples]).astype(np.float32) / 255
    skeletons = np.stack([skeleton_map(part, example.points_N3[:, :2]) for example in examples])
    return (torch.from_numpy(views).contiguous(memory_format=torch.channels_last), torch.from_numpy(damage), torch.from_numpy(skeletons))


def augmented(example: Example, draw: np.random.Generator) -> Example:
    """The same view turned, shifted, mirrored, and as another camera and another encoder would have made it."""
    import cv2

    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), draw.uniform(-14, 14), draw.uniform(0.86, 1.16))
    matrix[:, 2] += draw.uniform(-9, 9, 2)
    if draw.random() < 0.5:
        matrix = np.array([[-1.0, 0, SIDE], [0, 1, 0]]) @ np.vstack([matrix, [0, 0, 1]])
    cell = SIDE / MAP
    to_map = matrix.copy()  # the same move in cells, whose middles lie at half a cell
    to_map[:, 2] = (matrix[:, 2] + (matrix[:, :2] - np.eye(2)) @ np.full(2, (cell - 1) / 2)) / cell
    view = cv2.warpAffine(example.view, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    damage = cv2.warpAffine(example.damage, to_map, (MAP, MAP), flags=cv2.INTER_LINEAR)
    points = example.points_N3.astype(np.float64)
    points[:, :2] = transformed(points[:, :2], matrix) + draw.normal(0, 1.0, 2)
    return Example(_recorded(view, draw), damage, points, example.dose, example.person)


def _recorded(view: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Lower resolution, blur, JPEG, noise, exposure and colour cast, each now and then."""
    import cv2

    if draw.random() < 0.35:
        side = int(SIDE * draw.uniform(0.4, 1))
        view = cv2.resize(cv2.resize(view, (side, side), interpolation=cv2.INTER_AREA), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    if draw.random() < 0.2:
        view = cv2.GaussianBlur(view, (0, 0), draw.uniform(0.3, 1.5))
    if draw.random() < 0.25:
        view = cv2.imdecode(cv2.imencode(".jpg", view, [cv2.IMWRITE_JPEG_QUALITY, int(draw.uniform(40, 95))])[1], cv2.IMREAD_COLOR)
    values = view.astype(np.float32)
    if draw.random() < 0.25:
        values += draw.normal(0, draw.uniform(1, 8), values.shape).astype(np.float32)
    if draw.random() < 0.7:
        values = values * draw.uniform(0.6, 1.3) * draw.uniform(0.9, 1.1, 3) + draw.uniform(-15, 15)
    return np.clip(np.round(values), 0, 255).astype(np.uint8)
