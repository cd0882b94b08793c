"""What a self-test found, as a document; and whether a metric may judge by it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from sana_bench.errors import AssetError, StoreError
from sana_bench.extract import in_order
from sana_bench.features import EXTRACTORS, Features, View
from sana_bench.metrics import Control, MetricEntry
from sana_bench.records import Record, Versioned
from sana_bench.selftest.response import BLIND, MOST_UNSCORED, PASSES, Response
from sana_bench.shipped import PACKAGE, cache_folder
from sana_bench.store import write_record

CONTROLS = ("hand_beside", "face_beside")
"""Damage that leaves the part whole: a metric of the part that minds it has learned to see edits, not broken parts."""
SHIPPED = PACKAGE / "selftest" / "results.json"


class MetricSelfTest(Record):
    """One metric's."""

    version: int
    extractor_digest: str
    passed: bool
    """It sees every kind of damage that it claims to see, monotonically, and passed its controls. One that does not cannot gate."""
    why: str
    """What it did not see; empty where it passed."""
    auc: dict[str, float]
    """By kind of damage, over the two larger doses; 0.5 is chance."""
    monotone: bool
    """Under every kind of damage that it claims to see."""
    blind_to: tuple[str, ...]
    """Kinds whose largest dose it does not tell from none, claimed or not."""
    seconds_per_image: float
    """Of its extractors on one core, beyond decoding, on a full-body photograph of 2048 px."""
    responses: tuple[Response, ...]
    controls: tuple[Control, ...] = ()
    """Of metrics that have some."""


class SelfTest(Versioned):
    """Of all metrics that were tested together."""

    created: str
    sana_bench: str
    device: str
    people: tuple[str, ...]
    """Who was tested on."""
    metrics: dict[str, MetricSelfTest]
    facts: dict[str, object] = {}
    """What else was measured on the same photographs, by name, for the cards."""


def summarise(entry: MetricEntry, responses: Sequence[Response], seconds: float, controls: Sequence[Control] = ()) -> MetricSelfTest:
    found = {response.damage: response for response in responses}
    faults = []
    for name in entry.sees:
        response = found.get(name)
        if response is None or response.auc is None:
            faults.append(f"{name} could not be tested")
        elif response.auc_by_dose[-1] is None or response.unscored > MOST_UNSCORED:
            faults.append(f"{name} leaves {response.unscored:.0%} of what it damages without a value")
        elif response.auc < PASSES:
            faults.append(f"{name} has AUC {response.auc:.2f}, below {PASSES}")
        elif not response.monotone:
            faults.append(f"{name} is not monotone")
    if not entry.sees:
        faults.append("it claims to see no damage")
    faults += [f"{name}: it takes traces of an edit beside the part for damage, with AUC {found[name].auc:.2f}"
               for name in CONTROLS if name in found and found[name].units in ("hands", "faces") and (found[name].auc or 0) > BLIND]
    faults += [f"control: {each.name} in {each.share:.0%} of {each.number} cases, below {each.least:.0%}" for each in controls
               if not each.number or each.share < each.least]
    blind = tuple(name for name, response in found.items() if response.auc_by_dose[-1] is None or response.auc_by_dose[-1] < BLIND)
    return MetricSelfTest(
        version=entry.version, extractor_digest=entry.extractor_digest(), passed=not faults, why="; ".join(faults),
        auc={name: response.auc for name, response in found.items() if response.auc is not None},
        monotone=bool(entry.sees) and all(name in found and found[name].monotone for name in entry.sees), blind_to=blind,
        seconds_per_image=round(seconds, 3), responses=tuple(responses),
        controls=tuple(controls))


def measure_seconds(extractors: Sequence[str], pixels: Sequence[np.ndarray], prompt: str, device: str) -> dict[str, float]:
    """Median processor seconds of each extractor by itself, a picture."""
    names = in_order(extractors)
    made = {name: EXTRACTORS.get(name).make(device) for name in names}
    taken: dict[str, list[float]] = {name: [] for name in names}
    try:
        for picture in [pixels[0], *pixels]:  # the first time warms up
            view, known = View(picture, prompt), dict[str, Features]()
            for name in names:
                start = time.process_time()
                known[name] = made[name].extract(view, known)
                taken[name].append(time.process_time() - start)
    finally:
        for extractor in made.values():
            extractor.close()
    own = {name: float(np.median(times[1:])) for name, times in taken.items()}
    return own


def own_file() -> Path:
    """Where `sana-bench selftest` leaves what it found on this machine."""
    return cache_folder() / "selftest.json"


def save_selftest(found: SelfTest, path: Path) -> None:
    """Beside what the file says of metrics that were not tested this time."""
    before = read_selftest(path)
    if before is not None:
        found = found.model_copy(update={"metrics": {**before.metrics, **found.metrics}, "facts": {**before.facts, **found.facts}})
    write_record(path, found)


def read_selftest(path: Path) -> SelfTest | None:
    """None where there is none, or one of another schema."""
    try:
        document = json.loads(path.read_text())
        if isinstance(document, dict) and document.get("schema_version") != SelfTest.model_fields["schema_version"].default:
            return None
        return SelfTest.model_validate(document)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        raise StoreError(f"{path} is damaged ({error}); delete it and run sana-bench selftest again") from error


@cache
def _known(path: Path, changed: int) -> SelfTest | None:
    return read_selftest(path)


def known_selftest(entry: MetricEntry) -> MetricSelfTest | None:
    """The latest test of exactly this version of a metric and of its extractor: of this machine, or the shipped one."""
    for path in (own_file(), SHIPPED):
        found = _known(path, path.stat().st_mtime_ns) if path.exists() else None
        test = found.metrics.get(entry.name) if found else None
        if test and test.version == entry.version and test.extractor_digest == entry.extractor_digest():  # which may have to fetch weights
            return test
    return None


def known_facts() -> Mapping[str, object]:
    found = [_known(path, path.stat().st_mtime_ns) for path in (SHIPPED, own_file()) if path.exists()]
    return {name: fact for each in found if each for name, fact in each.facts.items()}


def shipped_fact(name: str) -> object:
    """A fact of the self-test in the package, whatever was measured on this machine since."""
    found = _known(SHIPPED, SHIPPED.stat().st_mtime_ns) if SHIPPED.exists() else None
    if found is None or name not in found.facts:
        raise AssetError(f'{SHIPPED} is missing or says nothing of "{name}"; install sana-bench again')
    return found.facts[name]


def why_not_judged(entry: MetricEntry) -> str:
    """Why a metric may not decide anything; empty where it may."""
    test = known_selftest(entry)
    if test is None:
        return f"no self-test of version {entry.version} is known: run sana-bench selftest {entry.name}"
    return "" if test.passed else f"failed its self-test: {test.why}"
