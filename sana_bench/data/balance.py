"""How often each picture is drawn: the share of every source, of its zoomed crops, and of perceived groups within declared bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sana_bench.data.raking import Margin, rake
from sana_bench.data.samples import Picture
from sana_bench.data.zoom import LEAST_OF_CROP
from sana_bench.errors import ConfigError, DataError
from sana_bench.metrics.perceived import ATTRIBUTES
from sana_bench.registry import near_names
from sana_bench.train_config import BalanceSection

TOLERANCE = 1e-3
"""By which the share of a group may miss its bounds. Nearly always they are met to 1e-9; at the edge of what is possible the last of it takes long."""

Stratum = tuple[str, bool]
"""A source, and whether its zoomed crops (True) or its whole images are meant."""


@dataclass(frozen=True)
class Cell:
    """Pictures that are drawn equally often."""

    stratum: Stratum
    groups: frozenset[str]
    """Their perceived groups, such as `gender=feminine`. Of an attribute that is undetermined there is none."""


@dataclass(frozen=True)
class Asked:
    """What is asked of one attribute, on the cells that are drawn."""

    attribute: str
    bounds: tuple[BalanceSection, ...]
    groups: tuple[str, ...]
    """Those that there are images of."""
    perceived: float
    """Share of all samples in which the attribute is perceived."""
    margin: Margin
    """A class for each of the groups, and one behind them where the attribute is undetermined."""


def picture_weights(pictures: Sequence[Picture], sources: Mapping[str, float], balance: Sequence[BalanceSection], crop_share: float) -> np.ndarray:
    """Share of all samples that each picture gets.

    Args:
        sources: share of all samples by source, sum 1.
        balance: bounds on perceived groups.
        crop_share: of each source that has zoomed crops among the pictures, the share of its samples that are such crops.

    Returns:
        (N,) float64, sum 1. Sources and crops have exactly their shares, pictures of one source, kind and combination of groups get equal ones.
        Groups are as `balanced_weights` says.

    Raises:
        ConfigError: `check_balance` finds a problem.
        DataError: a source without pictures, a share of crops where there are none, or bounds that cannot be met with these pictures.
    """
    check_balance(balance)
    attributes = bounded_attributes(balance)
    members = [Cell((picture.source, picture.crop is not None), frozenset(groups_of(picture, attributes))) for picture in pictures]
    counts = Counter(members)
    shares = _strata_shares({cell.stratum for cell in counts}, sources, crop_share)
    weights_C = balanced_weights(list(counts), list(counts.values()), shares, balance)
    weight_of = {cell: weight / number for (cell, number), weight in zip(counts.items(), weights_C, strict=True)}
    return np.array([weight_of[cell] for cell in members])


def balanced_weights(cells: Sequence[Cell], masses: Sequence[float], shares: Mapping[Stratum, float], balance: Sequence[BalanceSection]) -> np.ndarray:
    """Share of all samples that each cell gets.

    Strata have exactly their shares. The share of a group among the samples in which its attribute is perceived is within its bounds, and the
    share of all samples in which it is not perceived stays what it was. Of all such weights these are the nearest to proportional ones in KL
    divergence (raking.py).

    Args:
        cells: all different.
        masses: number of pictures of each, above zero.
        shares: of all samples by stratum, sum 1; each that is above zero has a cell.
        balance: bounds that `check_balance` has nothing against.

    Returns:
        (C,) float64, sum 1.

    Raises:
        DataError: there is no image of a group that must have a share, or the bounds cannot be met together.
    """
    in_stratum = Counter[Stratum]()
    for cell, mass in zip(cells, masses, strict=True):
        in_stratum[cell.stratum] += mass
    prior_C = np.array([shares[cell.stratum] * mass / in_stratum[cell.stratum] for cell, mass in zip(cells, masses, strict=True)])
    drawn_C = prior_C > 0
    prior, drawn = prior_C[drawn_C], [cell for cell, is_drawn in zip(cells, drawn_C, strict=True) if is_drawn]
    asked = [_asked(attribute, drawn, prior, balance) for attribute in bounded_attributes(balance)]
    asked = [each for each in asked if each.groups]
    strata = list(dict.fromkeys(cell.stratum for cell in drawn))
    of_strata = np.array([shares[stratum] for stratum in strata])
    weights = rake(prior, [*(each.margin for each in asked), Margin(np.array([strata.index(cell.stratum) for cell in drawn]), of_strata, of_strata)])
    _check_reached(asked, weights)
    weights_C = np.zeros(len(cells))
    weights_C[drawn_C] = weights
    return weights_C


def check_balance(balance: Sequence[BalanceSection]) -> None:
    """Raises ConfigError, all problems in one message: a group that does not exist, two bounds on one, or bounds that leave no room for each other."""
    problems = [*_problems_of_groups(balance), *_problems_of_sums(balance)]
    if problems:
        raise ConfigError("\n".join([f"{len(problems)} problem(s) with data.balance:", *problems]))


def groups_of(picture: Picture, attributes: Collection[str]) -> list[str]:
    """Perceived groups of a picture, such as `gender=feminine`, of those of the attributes that are determined."""
    return [f"{attribute}={found}" for attribute, found in picture.people.groups.items() if attribute in attributes]


def all_groups(attribute: str) -> list[str]:
    """Every group of an attribute, such as `gender=feminine`."""
    return [f"{attribute}={each}" for each in ATTRIBUTES[attribute].classes]


def bounded_attributes(balance: Sequence[BalanceSection]) -> list[str]:
    """Those on whose groups there are bounds, in their order."""
    return list(dict.fromkeys(map(_attribute, balance)))


def _attribute(bound: BalanceSection) -> str:
    return bound.group.partition("=")[0]


def _problems_of_groups(balance: Sequence[BalanceSection]) -> Iterator[str]:
    for group, number in Counter(bound.group for bound in balance).items():
        known = all_groups(group.partition("=")[0])
        if group not in known:
            yield f'there is no group "{group}".{near_names(group, known)} Known: {", ".join(known)}'
        if number > 1:
            yield f"{group} has {number} entries: give min_share and max_share in one"


def _problems_of_sums(balance: Sequence[BalanceSection]) -> Iterator[str]:
    for attribute in bounded_attributes(balance):
        own = {bound.group: bound for bound in balance if _attribute(bound) == attribute}
        low, high = sum(bound.min_share for bound in own.values()), sum(bound.max_share for bound in own.values())
        if low > 1 + TOLERANCE:
            yield f"min_share of {', '.join(own)} add up to {low:g}, and no shares add up to more than 1: lower one"
        if set(own) >= set(all_groups(attribute)) and high < 1 - TOLERANCE:
            yield f"max_share of {', '.join(own)}, which are all groups of {attribute}, add up to {high:g} and leave {1 - high:g} to none: raise one"


def _strata_shares(strata: Collection[Stratum], sources: Mapping[str, float], crop_share: float) -> dict[Stratum, float]:
    """Share of all samples by stratum; of a source without crops whole images have all."""
    empty = [source for source in sources if (source, False) not in strata]
    if empty:
        raise DataError(f"there is no image to train on of {', '.join(empty)}, which has a share of {sources[empty[0]]:g} of all samples")
    if crop_share and not any(is_crop for _, is_crop in strata):
        raise DataError(f"train.regions.crop_share is {crop_share:g}, and there is no zoomed crop: that takes a face or hand of at least "
                        f"{LEAST_OF_CROP:.2f} x train.resolution / train.regions.max_enlargement pixels, inside of a larger image. Raise max_enlargement, lower the "
                        f"resolution, give larger images, or set crop_share to 0")
    crops = {source: crop_share if (source, True) in strata else 0.0 for source in sources}
    return {**{(source, False): share * (1 - crops[source]) for source, share in sources.items()},
            **{(source, True): share * crops[source] for source, share in sources.items()}}


def _asked(attribute: str, cells: Sequence[Cell], prior_C: np.ndarray, balance: Sequence[BalanceSection]) -> Asked:
    bounds = {bound.group: bound for bound in balance if _attribute(bound) == attribute}
    groups = [group for group in all_groups(attribute) if any(group in cell.groups for cell in cells)]
    missing = [group for group, bound in bounds.items() if bound.min_share > 0 and group not in groups]
    if missing:
        raise DataError(f"data.balance asks for min_share {bounds[missing[0]].min_share:g} of {missing[0]}, and no image is perceived as such. Add images "
                        f"of that group, or take the bound away. Perceived are: {', '.join(groups) or f'no {attribute} at all'}")
    low, high = (np.array([getattr(bounds.get(group, BalanceSection(group=group)), side) for group in groups]) for side in ("min_share", "max_share"))
    if groups and high.sum() < 1 - TOLERANCE:
        raise DataError(f"data.balance allows {' and '.join(f'{group} {bounds[group].max_share:g}' for group in groups)} at most, and there are images of no "
                        f"other group of {attribute}. Add some, or raise max_share")
    labels_C = np.array([next((index for index, group in enumerate(groups) if group in cell.groups), len(groups)) for cell in cells])
    undetermined = float(prior_C[labels_C == len(groups)].sum())
    perceived = 1 - undetermined
    return Asked(attribute, tuple(bounds.values()), tuple(groups), perceived,
                 Margin(labels_C, np.append(low * perceived, undetermined), np.append(high * perceived, undetermined)))


def _check_reached(asked: Sequence[Asked], weights_C: np.ndarray) -> None:
    problems = []
    for each in asked:
        shares_K = each.margin.shares(weights_C)
        if (np.maximum(each.margin.low_K - shares_K, shares_K - each.margin.high_K) > TOLERANCE * each.perceived).any():
            reached = dict(zip(each.groups, shares_K / shares_K[:-1].sum(), strict=False))
            problems += [f"{bound.group} reaches {reached.get(bound.group, 0.0):.1%}, and min_share is {bound.min_share:.1%}, max_share {bound.max_share:.1%}"
                         for bound in each.bounds]
    if problems:
        raise DataError("\n".join(["data.balance cannot be met together with the shares of sources and crops, and with what is undetermined in its share:",
                                   *problems, "Widen these bounds, change the shares of data.mix, or add images of the groups that fall short"]))
