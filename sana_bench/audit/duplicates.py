"""Pictures that are in a folder more than once: files of the same bytes, and pictures that look the same.

Legend: N pictures.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

ROWS = 256
"""Pictures that are compared with all at once: 5 MB of counts for 10,000, which take a second."""


def same_groups(values: Sequence[Hashable]) -> list[list[int]]:
    """Indices of what is there more than once, in groups of two and more."""
    by_value: dict[Hashable, list[int]] = {}
    for index, value in enumerate(values):
        by_value.setdefault(value, []).append(index)
    return [group for group in by_value.values() if len(group) > 1]


def near_groups(hashes_NW: np.ndarray, most_bits: int) -> list[list[int]]:
    """Indices of hashes that differ in at most so many bits, directly or by way of others, in groups of two and more.

    Args:
        hashes_NW: (N, W) uint64.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    number = len(hashes_NW)
    labels_N = np.arange(number)  # of each the first of its group as far as it is known
    for start in range(0, number, ROWS):
        bits = np.zeros((len(hashes_NW[start:start + ROWS]), number - start), np.uint16)
        for word_N in hashes_NW.T:  # word by word, which needs a quarter of the memory
            bits += np.bitwise_count(word_N[start:start + ROWS, None] ^ word_N[None, start:])
        rows, columns = np.nonzero(bits <= most_bits)
        ends = np.concatenate([rows + start, np.arange(number)]), np.concatenate([columns + start, labels_N])
        _, found_N = connected_components(coo_array((np.ones(len(ends[0]), np.int8), ends), shape=(number, number)), directed=False)
        _, firsts, inverse_N = np.unique(found_N, return_index=True, return_inverse=True)
        labels_N = firsts[inverse_N]
    return same_groups(labels_N.tolist())
