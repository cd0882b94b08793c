"""The self-test: every registered metric on whole and damaged photographs of people that nothing has learned from.

Sample metrics are fed every held-out kind of corruption, hand by hand and face by face where they have a value for each; set metrics
are fed sets of damaged pictures, and scenarios that damage the set. Metrics that are fitted on a reference are fitted on the training
people here, so that the tested people are new to them too. For metrics that compare with the base model's own images, the whole
photographs stand for these. Those that ask a service, where each image costs, are fed what they claim to see, and only where they are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sana_bench.corruptions import CORRUPTIONS, Corruption, Part
from sana_bench.data.openpeople import FULL_BODIES
from sana_bench.errors import InsufficientSamplesError
from sana_bench.extract import FeatureStore, in_order
from sana_bench.features import EXTRACTORS
from sana_bench.metrics import METRICS, Control, MetricContext, MetricEntry, ScoredSample, Unscored, require_services
from sana_bench.progress import progress
from sana_bench.prompts import Target
from sana_bench.provenance import collect_provenance
from sana_bench.selftest.damage import Copy, damaged_copies, harmless_copies, kinds_to_test, photographs_for
from sana_bench.selftest.photographs import PART_EXTRACTOR, Shown, look_at, photographs_of, points_of
from sana_bench.selftest.response import Response, Units, auc, auc_interval, respond
from sana_bench.selftest.results import SelfTest, measure_seconds, summarise
from sana_bench.selftest.scenarios import DOSES, SCENARIOS
from sana_bench.store import Store

PARTS: tuple[Part, ...] = ("hand", "face", "body", "picture")
BASICS = ("pose", "hands", "faces", "attributes", "skin_tone")
"""Extractors that say what a photograph shows."""
NUM_SETS, SHARE_OF_SET = 30, 0.75
"""Sets that are drawn of the photographs for a set metric, without repeats, and how much of them each has."""
WITH_TRAINING_PEOPLE = "sets, training people among them"
"""Of one man and two women alone no groups can be made: there, whether a gap is seen is tested, not how well anything is judged."""
SAME_PART = 0.5
"""A found part is the damaged one where its points lie within this share of its size, on average."""
GROUP_DAMAGE = {"one_group_damaged": {"hand": "hand_warped", "face": "face_misplaced_feature"}, "one_group_lost": {"face": "face_erased"}}
"""What scenarios in which damaged copies take part do to a group, at the largest dose."""
TARGET = Target(gender={"feminine": 0.6, "masculine": 0.4}, age={"under_30": 0.4, "30_to_50": 0.5, "over_50": 0.1},
                skin_tone={"light": 0.4, "medium": 0.4, "dark": 0.2})
"""About what the photographs show, so that losing a group moves away from it."""


@dataclass(frozen=True)
class Material:
    """Everything that metrics are fed."""

    tested: list[Shown]
    """Whole photographs of the held-out people."""
    everybody: list[Shown]
    """Whole photographs of all people, for scenarios of metrics that have learned from nobody, and for those that need groups of people."""
    copies: list[tuple[Copy, ScoredSample]]
    """Harmless and damaged copies of the tested photographs."""
    group_copies: Mapping[str, Mapping[str, ScoredSample]]
    """Damaged versions of everybody's photographs, by scenario and id."""
    context: MetricContext


def run_selftest(names: Sequence[str], store: Store, device: str) -> SelfTest:
    """Test the metrics of these names, or all whose weights are always here and that ask no service.

    Raises:
        ConfigError: an unknown name, or a service that is not set up.
        SanaBenchError: an asset is missing.
    """
    entries = entries_to_test(names)
    material = gather(entries, store, device)
    pictures = [each.photograph.item.load() for each in material.tested if each.photograph.kind == "studio_posture"]
    seconds = measure_seconds(sorted({name for entry in entries for name in entry.extractors}), pictures, material.tested[0].photograph.item.prompt, device)
    with progress("test metrics", len(entries)) as tracker:
        metrics = {}
        for entry in entries:
            cost = sum(seconds[name] for name in in_order(entry.extractors))
            metrics[entry.name] = summarise(entry, responses_of(entry, material), cost, controls_of(entry, material))
            tracker.advance(entry.name)
    provenance = collect_provenance(device, {})
    return SelfTest(created=provenance.created, sana_bench=provenance.sana_bench, device=provenance.device,
                    people=tuple(sorted({each.photograph.person for each in material.tested})), metrics=metrics)


def entries_to_test(names: Sequence[str]) -> list[MetricEntry]:
    """The metrics of these names, their services set up; where there are none, all whose weights are always here and that ask no service."""
    if not names:
        return [entry for entry in map(METRICS.get, METRICS.names()) if entry.always_here and entry.service is None]
    entries = [METRICS.get(name) for name in names]
    require_services(entries)
    return entries


def gather(entries: Sequence[MetricEntry], store: Store, device: str) -> Material:
    """Look at all photographs and copies; what was looked at before is read from the store."""
    extractors = sorted({name for entry in entries for name in entry.extractors} | set(BASICS))
    training, tested = (look_at(photographs_of(f"openpeople:{side}", store), extractors, store, device, f"look at {side} people")
                        for side in ("training", "reference"))
    kinds = [kind for kind in kinds_to_test() if any(is_fed(entry, kind) for entry in entries)]
    shown = {part: photographs_for(part, tested) for part in PARTS if any(kind.part == part for kind in kinds)}
    every = {each.photograph.id: each for part in shown.values() for each in part}
    copies = _look_at_copies(harmless_copies(list(every.values())), [entry for entry in entries if entry.kind == "sample"], store, device)
    for part, photographs in shown.items():
        of_part = [kind for kind in kinds if kind.part == part]
        copies += _look_at_copies((copy for kind in of_part for copy in damaged_copies(kind, photographs)),
                                  [entry for entry in entries if any(is_fed(entry, kind) for kind in of_part)], store, device)
    context = MetricContext(reference=[each.sample.features for each in training],
                            reference_people=[each.photograph.person for each in training],
                            reference_enlarged=[each.photograph.enlarged for each in training], target=TARGET,
                            base={each.sample.sample_id: each.sample.features for each in [*training, *tested]}, store=store)
    return Material(tested, [*training, *tested], copies, _group_copies(entries, [*training, *tested], store, device), context)


def _look_at_copies(copies: Iterable[Copy], entries: Sequence[MetricEntry], store: Store, device: str) -> list[tuple[Copy, ScoredSample]]:
    """The copies with what these metrics read off them; none where there is no metric."""
    listed, extractors = list(copies) if entries else [], {name for entry in entries for name in entry.extractors}
    with FeatureStore(store, {*extractors, *BASICS}, device) as features:
        found = features.features_of([copy.item for copy in listed], "look at damaged copies")
    return [(copy, replace(copy.shown.sample, features=each)) for copy, each in zip(listed, found, strict=True)]


def _group_copies(entries: Sequence[MetricEntry], everybody: Sequence[Shown], store: Store, device: str) -> dict[str, dict[str, ScoredSample]]:
    """By scenario that one of these metrics claims to see and by id, what those metrics read that are fed it."""
    fed, groups = [entry for entry in entries if all_kept(entry)], {}
    for scenario, kinds_by_part in GROUP_DAMAGE.items():
        if any(scenario in entry.sees for entry in entries):
            copies = [copy for part, kind in kinds_by_part.items() for copy in _worst_copies(kind, _for_groups(part, everybody, len(kinds_by_part) > 1))]
            groups[scenario] = {sample.sample_id: sample for _, sample in _look_at_copies(copies, fed, store, device)}
    return groups


def all_kept(entry: MetricEntry) -> bool:
    """Whether the store keeps all that it reads; other features would be made again each time, of every copy."""
    return all(EXTRACTORS.get(name).kept for name in entry.extractors)


def is_fed(entry: MetricEntry, kind: Corruption) -> bool:
    """Whether a metric is fed copies with that damage.

    A sample metric is fed all, a set metric pictures and parts of which it claims to see damage. Those that ask a service or read what is not kept
    are fed no more than they claim.
    """
    claimed: set[Part] = {CORRUPTIONS.get(name).part for name in entry.sees if name not in SCENARIOS}
    if entry.service is not None:
        return kind.name in entry.sees
    return entry.kind == "sample" or kind.part in claimed or (kind.part == "picture" and all_kept(entry))


def _for_groups(part: str, shown: Sequence[Shown], several_parts: bool) -> list[Shown]:
    """Those that show the part. Where several are damaged, hands are in full bodies and faces in all others, so that each photograph is once."""
    return [each for each in shown if points_of(each, part) and (not several_parts or (each.sample.prompt.expects.hands > 0) is (part == "hand"))]


def _worst_copies(kind: str, shown: Sequence[Shown]) -> list[Copy]:
    doses = CORRUPTIONS.get(kind).doses
    return [copy for copy in damaged_copies(CORRUPTIONS.get(kind), shown) if copy.level == len(doses)]


def responses_of(entry: MetricEntry, material: Material) -> list[Response]:
    """What a metric does under every kind of damage that says something about it."""
    metric = entry.make(material.context)
    if entry.kind == "sample":
        responses = [_sample_response(entry, metric, kind, material) for kind in kinds_to_test() if is_fed(entry, kind)]
        responses += [_scenario_response(entry, metric, name, material) for name in SCENARIOS if name in entry.sees]
    else:
        responses = [_damaged_set_response(entry, metric, kind, material) for kind in kinds_to_test() if is_fed(entry, kind)]
        responses += [_scenario_response(entry, metric, name, material) for name in SCENARIOS
                      if name not in GROUP_DAMAGE or (all_kept(entry) and name in material.group_copies)]
    return [response for response in responses if response is not None]


def controls_of(entry: MetricEntry, material: Material) -> tuple[Control, ...]:
    """What a metric is held to beside damage, on copies of the two larger doses that it claims to see; nothing for most."""
    metric = entry.make(material.context)
    if not hasattr(metric, "controls"):
        return ()
    return metric.controls([sample for copy, sample in material.copies
                            if copy.damage in entry.sees and copy.level > len(CORRUPTIONS.get(copy.damage).doses) - 2])


def _sample_response(entry: MetricEntry, metric, kind, material: Material) -> Response | None:
    rows = [(copy, sample) for copy, sample in material.copies if copy.damage == kind.name]
    by_part = getattr(metric, "part", None) == kind.part
    ids = {copy.shown.photograph.id for copy, _ in rows}
    whole = [(each, False, each.sample) for each in material.tested if each.photograph.id in ids]
    whole += [(copy.shown, copy.damage in MOVING, sample) for copy, sample in material.copies
              if copy.level == 0 and copy.shown.photograph.id in ids]

    def units(rows: Iterable[tuple[Shown, bool, ScoredSample]]) -> list[tuple[Shown, float | None]]:
        """Every unit of these copies with the photograph that it is of; `moved` ones have their parts elsewhere."""
        found = []
        for shown, moved, sample in rows:
            if by_part:
                values = _values_anywhere(metric, kind.part, sample) if moved else _part_values(metric, kind.part, shown, sample)
            else:
                value = metric.score(sample)
                values = [None if isinstance(value, Unscored) else value]
            found += [(shown, value) for value in values]
        return found

    reference = [(shown, value) for shown, value in units(whole) if value is not None]
    by_dose = [units((copy.shown, False, sample) for copy, sample in rows if copy.level == level) for level in range(1, len(kind.doses) + 1)]
    if not reference:
        return None  # nothing that this damage could touch is ever scored by this metric
    response = respond(
        kind.name, [value for _, value in reference], [[value for _, value in each] for each in by_dose], higher_is_better=entry.higher_is_better,
        claimed=kind.name in entry.sees, doses=kind.doses, unit=kind.unit, units=PARTS_IN_WORDS[kind.part] if by_part else "images")
    sign = 1 if entry.higher_is_better else -1
    interval = auc_interval(_units_of(reference, sign), [_units_of(each, sign) for each in by_dose[-2:]])
    low, high = (None, None) if interval is None else (round(end, 3) for end in interval)
    return response.model_copy(update={"auc_low": low, "auc_high": high, "num_photographs": len(ids),
                                       "auc_small_faces": _auc_of_small(reference, by_dose[-2:], sign) if kind.part == "face" else None})


def _units_of(units: Sequence[tuple[Shown, float | None]], sign: int) -> Units:
    known = [(sign * value, shown.photograph.id) for shown, value in units if value is not None]
    return Units(tuple(value for value, _ in known), tuple(name for _, name in known))


def _auc_of_small(whole: Sequence[tuple[Shown, float | None]], by_dose: Sequence[Sequence[tuple[Shown, float | None]]], sign: int) -> float | None:
    """Mean AUC over the doses among photographs of full bodies; None where one has no value."""
    def small(units: Sequence[tuple[Shown, float | None]]) -> np.ndarray:
        return np.array(_units_of([unit for unit in units if unit[0].photograph.kind in FULL_BODIES], sign).values)

    better, worse = small(whole), [small(units) for units in by_dose]
    return round(float(np.mean([auc(each, better) for each in worse])), 3) if len(better) and all(map(len, worse)) else None


PARTS_IN_WORDS = {"hand": "hands", "face": "faces", "body": "bodies"}
MOVING = ("mirrored", "turned and resized")
"""Harmless copies in which parts are elsewhere, so that found ones are taken as they come."""


def _part_values(metric, part: str, shown: Shown, sample: ScoredSample) -> list[float]:
    """Value of every part of the whole photograph on a copy; 0 for one that is not found any more."""
    found, values = sample.features[PART_EXTRACTOR[part]]["keypoints"][..., :2], metric.score_parts(sample)
    result = []
    for points_N2 in points_of(shown, part):
        away = [float(np.linalg.norm(each - points_N2, axis=1).mean()) for each in found]
        near = away and min(away) <= SAME_PART * max(float(np.ptp(points_N2, axis=0).max()), 1.0)
        result.append(float(values[int(np.argmin(away))]) if near else 0.0)
    return result


def _values_anywhere(metric, part: str, sample: ScoredSample) -> list[float]:
    """Value of every part found on a copy in which parts are elsewhere, and 0 for as many as are missing."""
    values, expects = list(metric.score_parts(sample)), sample.prompt.expects
    expected = {"hand": expects.hands, "face": expects.faces, "body": int(expects.full_body)}[part]
    return values + [0.0] * (expected - len(values))


def _damaged_set_response(entry: MetricEntry, metric, kind, material: Material) -> Response | None:
    rows: dict[int, dict[str, ScoredSample]] = {}
    for copy, sample in material.copies:
        if copy.damage == kind.name:
            rows.setdefault(copy.level, {})[copy.shown.photograph.id] = sample
    whole = [each.sample for each in material.tested if each.photograph.id in rows[1]]
    versions = [[rows[level][sample.sample_id] for sample in whole] for level in sorted(rows)]
    draws = _draws(len(whole))
    return _set_response(entry, kind.name, [_set_value(metric, [whole[index] for index in chosen]) for chosen in draws],
                         [[_set_value(metric, [version[index] for index in chosen]) for chosen in draws] for version in versions],
                         kind.doses, kind.unit)


def _scenario_response(entry: MetricEntry, metric, name: str, material: Material) -> Response | None:
    held_out = has_learned_people(entry) and name not in GROUP_DAMAGE
    pool = [each.sample for each in (material.tested if held_out else material.everybody)]
    draws = [[pool[index] for index in chosen] for chosen in _draws(len(pool))]
    one = _mean_score if entry.kind == "sample" else _set_value

    def value(samples: list[ScoredSample], dose: float, number: int) -> float | None:
        altered = SCENARIOS[name].apply(samples, material.group_copies.get(name, {}), dose, np.random.default_rng((3, number)))
        return None if altered is None else one(metric, altered)

    whole = [one(metric, samples) for samples in draws]
    by_dose = [[value(samples, dose, number) for number, samples in enumerate(draws)] for dose in DOSES]
    units = "sets" if held_out or not has_learned_people(entry) else WITH_TRAINING_PEOPLE
    return _set_response(entry, name, whole, by_dose, DOSES, "share of images", units)


def has_learned_people(entry: MetricEntry) -> bool:
    """Whether it is fitted on the training people, or looks through a network that is."""
    return entry.needs_reference or any(EXTRACTORS.get(name).local_weights for name in in_order(entry.extractors))


def _set_response(entry: MetricEntry, damage: str, whole: list[float | None], by_dose: list[list[float | None]], doses, unit: str,
                  units: str = "sets") -> Response | None:
    known = [value for value in whole if value is not None]
    if not known:
        return None
    return respond(damage, known, by_dose, higher_is_better=entry.higher_is_better, claimed=damage in entry.sees,
                   doses=doses, unit=unit, units=units)


def _draws(number: int) -> list[np.ndarray]:
    draw = np.random.default_rng(2)
    return [draw.permutation(number)[:max(2, round(SHARE_OF_SET * number))] for _ in range(NUM_SETS)]


def _set_value(metric, samples: Sequence[ScoredSample]) -> float | None:
    """Value of a set metric; None where too few samples take part."""
    usable = [sample for sample in samples if metric.usable(sample) is None]
    try:
        return metric.evaluate(metric.statistics(usable), np.arange(len(usable))) if usable else None
    except InsufficientSamplesError:
        return None


def _mean_score(metric, samples: Sequence[ScoredSample]) -> float | None:
    values = [value for value in map(metric.score, samples) if not isinstance(value, Unscored)]
    return float(np.mean(values)) if values else None
