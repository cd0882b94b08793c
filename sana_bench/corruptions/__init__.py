"""Corruptions: graded damage of real photographs, for which metrics are held to account. One file a family; none of it is used to score.

A corruption of dose 0 is the photograph itself. All of them work on any picture with points that say where the part is, so that
real and rendered hands, faces and bodies are damaged in the same way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sana_bench.corruptions.geometry import on_window
from sana_bench.registry import Registry

Part = Literal["hand", "face", "body", "picture"]
Damage = Callable[[np.ndarray, np.ndarray, float, np.random.Generator], np.ndarray]
"""(pixels (H, W, 3) uint8, points (N, 2) of the part, dose, generator) -> damaged pixels, of the same shape."""


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """A registered kind of damage."""

    name: str
    part: Part
    """What it damages, which decides the points that it is given; a `picture` is damaged as a whole and has none."""
    doses: tuple[float, ...]
    """From hardly visible to blatant, ascending."""
    unit: str
    """What a dose counts."""
    explanation: str
    damage: Damage


CORRUPTIONS: Registry[Corruption] = Registry("corruption", "sana_bench.corruptions")


def register_corruption(name: str, *, part: Part, doses: tuple[float, ...], unit: str) -> Callable[[Damage], Damage]:
    """Function decorator; the docstring's first line explains the damage in reports."""
    def register(damage: Damage) -> Damage:
        CORRUPTIONS.register(name, Corruption(name=name, part=part, doses=doses, unit=unit, damage=damage,
                                              explanation=(damage.__doc__ or "").strip().splitlines()[0]))
        return damage
    return register


def register_on_window(name: str, *, part: Part, margin: float, doses: tuple[float, ...], unit: str) -> Callable[[Damage], Damage]:
    """The same for a function that is given only the window around the part, `margin` sizes of its points wider, and the points in it."""
    def register(edit: Damage) -> Damage:
        @functools.wraps(edit)
        def damage(pixels_HW3, points_N2, dose, draw):
            return on_window(pixels_HW3, points_N2, margin, lambda window, points: edit(window, points, dose, draw))

        register_corruption(name, part=part, doses=doses, unit=unit)(damage)
        return edit
    return register


def corrupt(name: str, pixels_HW3: np.ndarray, points_N2: np.ndarray, dose: float, seed: tuple[int, ...]) -> np.ndarray:
    """One damaged copy; the same for the same seed. Dose 0 gives the photograph back."""
    if dose == 0:
        return pixels_HW3.copy()
    return CORRUPTIONS.get(name).damage(pixels_HW3, points_N2.astype(np.float64), dose, np.random.default_rng(seed))
