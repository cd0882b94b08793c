"""How a metric answers to growing damage: its values a dose, and whether it tells damaged from whole.

Legend: U units (images, hands, faces, bodies or sets of images).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sana_bench.records import Record

TELLS = 0.75
"""AUC from which on a metric is said to see a dose."""
BLIND = 0.65
"""AUC at the largest dose below which it is blind to a kind of damage."""
PASSES = 0.8
"""AUC over the two larger doses that a metric must reach on every kind that it claims to see."""
MOST_UNSCORED = 0.2
"""Share of what a claimed kind damages that may be left without a value: what cannot be scored cannot be worse."""
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
    auc_low: float | None = None
    auc_high: float | None = None
    """95 % interval of `auc` over photographs, whose copies and parts are no independent units. None of sets, which overlap: their AUC
    says that a metric moves, not how surely one set shows it."""
    auc_small_faces: float | None = None
    """`auc` of the small faces of full bodies alone."""
    num_photographs: int = 0
    """That were damaged."""
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


@dataclass(frozen=True)
class Units:
    """Values of units that a metric can tell apart, whole or at one dose."""

    values: tuple[float, ...]
    photographs: tuple[str, ...]
    """Of which photograph each is."""


def auc_interval(whole: Units, by_dose: Sequence[Units], *, num_resamples: int = 500, confidence: float = 0.95, seed: int = 0) -> tuple[float, float] | None:
    """Percentile bootstrap over photographs of the mean AUC of the given doses, where a lower value is worse; None where a dose has no value."""
    if not whole.values or not all(units.values for units in by_dose):
        return None
    names = sorted({*whole.photographs, *(name for units in by_dose for name in units.photographs)})
    place = {name: index for index, name in enumerate(names)}
    counts_RP = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=num_resamples).astype(np.float64)
    better_U, weight_RU = np.array(whole.values), counts_RP[:, [place[name] for name in whole.photographs]]
    aucs = []
    for units in by_dose:
        worse_V, weight_RV = np.array(units.values), counts_RP[:, [place[name] for name in units.photographs]]
        wins_UV = (better_U[:, None] > worse_V) + 0.5 * (better_U[:, None] == worse_V)
        with np.errstate(invalid="ignore"):
            aucs.append(np.einsum("ru,uv,rv->r", weight_RU, wins_UV, weight_RV, optimize=True) / (weight_RU.sum(1) * weight_RV.sum(1)))
    low, high = np.nanquantile(np.mean(aucs, axis=0), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


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
