"""What was measured beside the self-test, as tables for a metric's card: weights, agreement with requests, tones under other light."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sana_bench.evidence import calibration_file
from sana_bench.evidence.plausibility import PARTS, load_calibration
from sana_bench.metrics import METRICS, MetricEntry
from sana_bench.metrics.parity import GROUPED
from sana_bench.metrics.perceived import ATTRIBUTES
from sana_bench.prompts import Attribute
from sana_bench.records import Record
from sana_bench.selftest.agreement import AGREEMENT
from sana_bench.selftest.facts import SHIFT
from sana_bench.selftest.native_faults import FAULTS, IN_SMALL, native_faults
from sana_bench.selftest.results import known_selftest

WEIGHTS, NATIVE = "weights", "faults of 2K pictures"


class FactTable(Record):
    """A small table of words."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def facts_of(entry: MetricEntry, known: Mapping[str, object]) -> dict[str, object]:
    """Those of the known facts that belong on a metric's card, and the weights of its parts."""
    facts: dict[str, object] = {}
    for part in PARTS:
        if calibration_file(part) in entry.files:
            weights_K = load_calibration(part).weight_K
            facts[WEIGHTS] = {name: round(float(weight), 3) for name, weight in zip(PARTS[part], weights_K, strict=True)}
    if "skin_tone" in entry.extractors and SHIFT in known:
        facts[SHIFT] = known[SHIFT]
    faults = _faults_of(entry)
    if faults:
        facts[NATIVE] = faults
    asked = [name for name in attributes_of(entry) if name in known.get(AGREEMENT, {})]
    if asked:
        facts[AGREEMENT] = {name: known[AGREEMENT][name] for name in asked}
    return facts


def _faults_of(entry: MetricEntry) -> dict[str, dict[str, float]]:
    """By fault of 2K pictures that a metric claims to see: its AUC and those of the distances in small."""
    claimed = set(entry.sees) & FAULTS.keys()
    tests = {name: known_selftest(METRICS.get(name)) for name in (entry.name, *IN_SMALL) if claimed}
    return {fault: aucs for fault, aucs in native_faults({name: test for name, test in tests.items() if test}).items() if fault in claimed}


def attributes_of(entry: MetricEntry) -> tuple[Attribute, ...]:
    """Perceived attributes that a metric rests on."""
    own = tuple(name for name in ATTRIBUTES if entry.name.startswith(f"{name}_"))
    return own or (GROUPED if "skin_tone" in entry.extractors else ("gender",) if "attributes" in entry.extractors else ())


def tables_of(facts: Mapping[str, object]) -> tuple[FactTable, ...]:
    tables = []
    if WEIGHTS in facts:
        tables.append(FactTable(title="weight of each standardised part; 0 tells nothing that the others do not", header=("part", "weight"),
                                rows=tuple((name, f"{weight:.2f}") for name, weight in facts[WEIGHTS].items())))
    if SHIFT in facts:
        tables.append(_shift_table(facts[SHIFT]))
    if NATIVE in facts:
        rows = tuple((f"{fault} {FAULTS[fault]:g}", name, f"{auc:.2f}") for fault, aucs in facts[NATIVE].items() for name, auc in aucs.items())
        tables.append(FactTable(title=f"{NATIVE}, beside distances on the whole image at 224 px", header=("fault and dose", "metric", "AUC"), rows=rows))
    tables += [_agreement_table(name, table) for name, table in facts.get(AGREEMENT, {}).items()]
    return tuple(tables)


def _shift_table(shift: Mapping) -> FactTable:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.0%}"

    def signed(value: float | None) -> str:
        return "-" if value is None else f"{value:+.1f}"

    rows = tuple((change, signed(each["lab"]).lstrip("+"), signed(each["ita"]), signed(each["hue"]), share(each["monk_changed"]),
                  share(each["band_changed"]), share(each["undetermined"])) for change, each in shift["changes"].items())
    return FactTable(title=f"{SHIFT}, {shift['num_faces']} real faces", rows=rows, header=(
        "change", "distance in Lab", "ITA in degrees", "hue in degrees", "other Monk tone", "other band", "no longer determined"))


def _agreement_table(attribute: str, table: Mapping) -> FactTable:
    labels, confusion = [label.replace("_", " ") for label in table["labels"]], np.array(table["confusion"])
    agreement, undetermined = ("-" if table[name] is None else f"{table[name]:.0%}" for name in ("agreement", "undetermined"))
    return FactTable(title=f"{attribute.replace('_', ' ')}, {AGREEMENT}: {agreement} agree, {undetermined} undetermined",
                     header=("requested", *(f"perceived {label}" for label in labels)),
                     rows=tuple((label, *map(str, row)) for label, row in zip(labels, confusion.tolist(), strict=True)))
