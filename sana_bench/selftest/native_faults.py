"""Faults of 2K pictures: which metrics see them, and that a distance on the whole image in small does not. Read off the self-tests.

That distance has all training pictures for its reference, of which two thirds are enlarged up to six times. Against sharp ones alone, as native
patches have them, it sees JPEG of quality 50 (AUC 0.8 to 0.9) and seams of eight values (0.9), whose colours and tones reach to 224 px, and
still neither the blur nor the enlarging (0.5).
"""

from __future__ import annotations

from collections.abc import Mapping

from sana_bench.selftest.results import MetricSelfTest

FAULTS = {"picture_blurred": 2.0, "picture_compressed": 50.0, "picture_tiled": 8.0, "picture_upscaled": 2.0}
"""Kinds of damage and their dose: a blur of two pixels, JPEG of quality 50, tiles that differ by eight 8-bit values, 1024 px made 2048."""
IN_SMALL = ("fd_efficientnet_lite0", "kid_efficientnet_lite0")
"""Distances of images at 224 px."""


def auc_of_fault(test: MetricSelfTest, fault: str) -> float | None:
    """How well a metric tells pictures with that fault, at its dose, from whole ones; None where it was not tested."""
    return next((response.auc_by_dose[response.doses.index(FAULTS[fault])] for response in test.responses if response.damage == fault), None)


def native_faults(tests: Mapping[str, MetricSelfTest]) -> dict[str, dict[str, float]]:
    """By fault: the AUC of every metric that claims to see it, the best first, then those of the distances in small."""
    table = {}
    for fault in FAULTS:
        claiming = [name for name, test in tests.items() if any(response.damage == fault and response.claimed for response in test.responses)]
        aucs = {name: auc_of_fault(tests[name], fault) for name in [*claiming, *(name for name in IN_SMALL if name in tests)]}
        known = {name: value for name, value in aucs.items() if value is not None}
        table[fault] = dict(sorted(known.items(), key=lambda pair: (pair[0] in IN_SMALL, -pair[1])))
    return table
