"""How a metric answers to growing damage: its values a dose, and whether it tells damaged from whole.

Legend: U units (images, hands, faces, bodies or sets of images).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sana_bench.records import Record

TELLS = 0.75
"""AUC from which on a metric is said to see a dose."""
BLIND = 0.65
"""AUC at the largest dose below which it is blind to a kind of damage."""
PASSES = 0.8
"""AUC over the two larger doses that a metric must reach on every kind that it claims to see."""
SLACK, NOISE = 0.05, 2.0
"""A larger dose may look better than a smaller one by this share of the whole response, or by so many standard errors: where nothing is
left to lose, values wander by chance."""


class Response(Record):
    """One metric under one kind of damage."""

    damage: str
    claimed: bool
    """The metric says that it sees it."""
    doses: tuple[float, ...]
    unit: str
    """Of the doses."""
    units: str
    """What was told apart: images, hands, faces, bodies, sets."""
    num_whole: int
    values: tuple[float | None, ...]
    """Mean value without damage, then at each dose; None where nothing could be scored."""
    auc_by_dose: tuple[float | None, ...]
    auc: float | None
    """Mean over the two larger doses; 0.5 is chance."""
    monotone: bool
    """The mean gets worse from dose to dose, up to SLACK and NOISE, and is worse at the last than without damage."""
    sees_from: float | None
    """Smallest dose from which on every AUC is TELLS or more."""
    unscored: float
    """Share of damaged units without a value: a metric must not gain by them."""


def auc(worse_U: np.ndarray, better_U: np.ndarray) -> float:
    """Probability that a unit drawn from `better_U` has the higher value, ties counted half (Mann-Whitney)."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([better_U, worse_U]))
    n = len(better_U)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(worse_U)))


def respond(damage: str, whole: Sequence[float], by_dose: Sequence[Sequence[float | None]], *, higher_is_better: bool, claimed: bool,
            doses: Sequence[float], unit: str, units: str) -> Response:
    """Sum up values of whole and of damaged units; None is a unit without a value."""
    sign = 1 if higher_is_better else -1
    scored = [np.array([value for value in values if value is not None], dtype=np.float64) for values in by_dose]
    reference = np.array(whole, dtype=np.float64)
    aucs = [auc(sign * values, sign * reference) if len(values) and len(reference) else None for values in scored]
    means = [float(values.mean()) if len(values) else None for values in (reference, *scored)]
    number = sum(len(values) for values in by_dose)
    upper = [each for each in aucs[-2:] if each is not None]
    sees = next((dose for place, dose in enumerate(doses) if all(each is not None and each >= TELLS for each in aucs[place:])), None)
    return Response(damage=damage, claimed=claimed, doses=tuple(doses), unit=unit, units=units, num_whole=len(reference),
                    values=tuple(None if mean is None else _rounded(mean) for mean in means),
                    auc_by_dose=tuple(None if each is None else round(each, 3) for each in aucs),
                    auc=round(float(np.mean(upper)), 3) if upper else None, monotone=is_monotone([values for values in (reference, *scored) if len(values)], sign),
                    sees_from=sees, unscored=round(1 - sum(map(len, scored)) / number, 3) if number else 0.0)


def is_monotone(groups: Sequence[np.ndarray], sign: int) -> bool:
    """Whether oriented means fall from the first group to the last, and no step goes up by more than chance and SLACK allow."""
    if len(groups) < 2:
        return False
    means = np.array([sign * values.mean() for values in groups])
    errors = np.array([values.std() / np.sqrt(len(values)) for values in groups])
    fall = means[0] - means[-1]
    allowed = np.maximum(SLACK * fall, NOISE * np.hypot(errors[:-1], errors[1:]))
    return bool(fall > 0 and (np.diff(means) <= allowed).all())


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
