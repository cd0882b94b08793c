"""How often training sees images of each source and perceived group, before and after balancing: for the summary of a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sana_bench.data.balance import all_groups, groups_of
from sana_bench.data.samples import Picture
from sana_bench.metrics.perceived import ATTRIBUTES
from sana_bench.records import ShareOfSamples

NOTED = 1.1
"""Times as often from which on a repetition is worth a note."""


def shares_of(pictures: Sequence[Picture], draws_N: np.ndarray) -> tuple[ShareOfSamples, ...]:
    """Shares by source where there are several, by perceived group where somebody is perceived, and of zoomed crops where there are any.

    Before, sources and groups have their shares of the whole images; crops, which are cut out of them, have theirs of images and crops together.

    Args:
        draws_N: how often each picture is drawn in all steps, or the weight that it is drawn with.
    """
    draws_N = np.asarray(draws_N, np.float64)
    crops_N = np.array([picture.crop is not None for picture in pictures])
    before_N = (~crops_N).astype(np.float64)
    sources_N = np.array([picture.source for picture in pictures])
    named = [(f"source={source}", sources_N == source) for source in dict.fromkeys(sources_N)] if len(set(sources_N)) > 1 else []
    rows = [_share(name, chosen_N, before_N, draws_N) for name, chosen_N in named]
    rows += [row for attribute in ATTRIBUTES for row in _by_group(attribute, pictures, before_N, draws_N)]
    return (*rows, *([_share("crops", crops_N, np.ones(len(pictures)), draws_N)] if crops_N.any() else []))


def repetition_note(shares: Sequence[ShareOfSamples]) -> str:
    """Which perceived group, or the crops, are seen the most times as often as their number alone would have it; empty where none is by much.

    The same few images over and over teach those images: the larger the number, the more of their kind are needed.
    """
    repeated = [share for share in shares if not share.name.startswith("source=") and share.before > 0]
    rarest = max(repeated, key=lambda share: share.after / share.before, default=None)
    if rarest is None or rarest.after / rarest.before < NOTED:
        return ""
    return (f"{rarest.name}: {rarest.before:.1%} of the images and {rarest.after:.1%} of the samples, so that each is seen "
            f"{rarest.after / rarest.before:.1f} times as often as their number alone would have it")


def _by_group(attribute: str, pictures: Sequence[Picture], before_N: np.ndarray, draws_N: np.ndarray) -> Iterator[ShareOfSamples]:
    """None where the attribute is perceived in no image, or in no sample that was drawn."""
    groups = [groups_of(picture, (attribute,)) for picture in pictures]
    perceived_N = np.array([bool(each) for each in groups])
    before_N, draws_N = before_N * perceived_N, draws_N * perceived_N
    if before_N.any() and draws_N.any():
        for name in all_groups(attribute):
            yield _share(name, np.array([name in each for each in groups]), before_N, draws_N)


def _share(name: str, chosen_N: np.ndarray, before_N: np.ndarray, draws_N: np.ndarray) -> ShareOfSamples:
    before, after = (float(weights_N[chosen_N].sum() / weights_N.sum()) for weights_N in (before_N, draws_N))
    return ShareOfSamples(name=name, before=before, after=after)
