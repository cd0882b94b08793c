"""What the hand and face evidence extractors share: a look at each part by its network, and how steady its landmarks are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sana_bench.features import Features
from sana_bench.features.mediapipe_task import Landmarker, Window
from sana_bench.features.upright_view import MAP, SIDE, Part, cut_view, size_of, skeleton_map, transformed, view_matrix

COPIES = ((15.0, 0.8, False), (-8.0, 0.95, True))
"""Degrees, scale and whether it is mirrored: the altered copies of a view in which the landmarks are looked for again."""

LOST = 0.5
"""Instability, in sizes of the part, where a copy shows no part any more; also the most that a copy can count."""

FOUND_A_TILE = 2
"""Parts that may be found in a tile: clasped hands and crowds show a second one, which must not take another tile's place."""

PARTS_A_SHEET = 2
"""Parts whose copies are looked at together, in one sheet of always the same size, which saves a detection."""


def copy_matrix(degrees: float, scale: float, mirrored: bool) -> np.ndarray:
    """(2, 3) affine matrix from a view to its altered copy, about the middle."""
    angle, middle = np.radians(degrees), np.full(2, SIDE / 2)
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if mirrored:
        turn = turn @ np.diag([-1.0, 1.0])
    return np.concatenate([turn, (middle - turn @ middle)[:, None]], axis=1)


class EvidenceReader:
    """Looks at parts of one kind whose landmarks are known.

    Args:
        part: `upright_view.HAND` or `FACE`.
        device: of the network.
        network: a `DamageNet` to look with, instead of the shipped one.
    """

    def __init__(self, part: Part, device: str, network: Any = None):
        from sana_bench.evidence.network import for_inference, load_network

        self.part, self.device = part, device
        self.network = for_inference(network or load_network(part)).to(device)
        self.landmarker = Landmarker(part.name.capitalize(), f"mediapipe_{part.name}", **{f"num_{part.name}s": FOUND_A_TILE * len(COPIES) * PARTS_A_SHEET})

    def read(self, pixels_HW3: np.ndarray, keypoints_FN2: np.ndarray, mirrored_F: Sequence[bool]) -> Features:
        """Features of all parts of an image, one row each.

        Returns:
            damage_logit: (F,) float32, more is more damaged; about 0 where whole and damaged are equally likely.
            damage_map: (F, MAP, MAP) float16 in [0, 1], where in the view damage is seen.
            view_matrix: (F, 2, 3) float32, from pixels of the image to pixels of the view.
            instability: (F,) float32 in [0, LOST], mean shift of the landmarks between altered copies, in sizes of the part.
        """
        matrices = [view_matrix(self.part, points.astype(np.float64), bool(mirror))
                    for points, mirror in zip(keypoints_FN2, mirrored_F, strict=True)]
        views = [cut_view(pixels_HW3, matrix) for matrix in matrices]
        points = [transformed(each.astype(np.float64), matrix) for each, matrix in zip(keypoints_FN2, matrices, strict=True)]
        return {**self.read_views(views, points), "view_matrix": np.array(matrices, np.float32).reshape(-1, 2, 3)}

    def read_views(self, views: Sequence[np.ndarray], points: Sequence[np.ndarray]) -> Features:
        """The same of views (SIDE, SIDE, 3) that were cut before, with the points (N, 2) in their pixels; without `view_matrix`."""
        looks = [self._look(view, each) for view, each in zip(views, points, strict=True)]
        shifts: list[float] = []
        for first in range(0, len(views), PARTS_A_SHEET):
            shifts += self._shifts(views[first:first + PARTS_A_SHEET], points[first:first + PARTS_A_SHEET])
        return {"damage_logit": np.array([logit for logit, _ in looks], np.float32),
                "damage_map": np.array([damage for _, damage in looks], np.float16).reshape(-1, MAP, MAP),
                "instability": np.array(shifts, np.float32)}

    def _look(self, view: np.ndarray, points_N2: np.ndarray) -> tuple[float, np.ndarray]:
        """One view at a time, so that no neighbour can move its numbers."""
        import torch

        from sana_bench.features.network import one_thread

        pixels = torch.from_numpy(view.astype(np.float32)[None]).to(self.device).permute(0, 3, 1, 2)  # channels last
        skeleton = torch.from_numpy(skeleton_map(self.part, points_N2)[None]).to(self.device)
        with one_thread(), torch.inference_mode():
            damage, logit = self.network(pixels, skeleton)
        return float(logit[0]), torch.sigmoid(damage[0]).cpu().numpy()

    def _shifts(self, views: Sequence[np.ndarray], points: Sequence[np.ndarray]) -> list[float]:
        """Instability of each part, from one sheet: a row of altered copies a part."""
        import cv2

        sheet = np.zeros((PARTS_A_SHEET * SIDE, len(COPIES) * SIDE, 3), np.uint8)
        matrices = [copy_matrix(*copy) for copy in COPIES]
        for row, view in enumerate(views):
            for column, matrix in enumerate(matrices):
                sheet[row * SIDE:(row + 1) * SIDE, column * SIDE:(column + 1) * SIDE] = cv2.warpAffine(
                    view, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        whole = Window.whole(sheet)
        found = [whole.to_image(each)[:, :2].astype(np.float64) for each in getattr(self.landmarker.detect(sheet, whole), f"{self.part.name}_landmarks")]
        return [float(np.mean([self._shift(found, points[row], column, (column * SIDE, row * SIDE)) for column in range(len(COPIES))]))
                for row in range(len(views))]

    def _shift(self, found: Sequence[np.ndarray], points_N2: np.ndarray, copy: int, corner: tuple[int, int]) -> float:
        """Mean distance of the nearest found part in a tile to where the known points went, in sizes of the part."""
        there = transformed(points_N2[self.part.known_points()], copy_matrix(*COPIES[copy])) + corner
        names = self.part.known_points(mirrored=COPIES[copy][2])
        shifts = [float(np.linalg.norm(each[names] - there, axis=1).mean()) / size_of(there) for each in found
                  if (np.abs(each.mean(axis=0) - corner - SIDE / 2) < SIDE / 2).all()]
        return min([LOST, *shifts])

    def close(self) -> None:
        self.landmarker.close()
