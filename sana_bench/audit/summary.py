"""A folder in numbers: findings, histograms, variety, perceived groups, and whether declared limits hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sana_bench.audit.faults import KINDS, Judged
from sana_bench.audit.folder import MetadataProblem
from sana_bench.audit.looks import Look
from sana_bench.audit.record import Finding, Histogram, LimitOutcome, PerceivedGroups, Variety
from sana_bench.audit.rules import AuditRules, LimitSection
from sana_bench.audit.variety import RESPECTS
from sana_bench.demographics import LEAST_SHARE, known_confusion
from sana_bench.metrics import Unscored
from sana_bench.metrics.composition import corrected_shares, hill_number
from sana_bench.metrics.perceived import ATTRIBUTES

BINS = 24


def findings(looks: Sequence[Look], judged: Judged) -> tuple[Finding, ...]:
    """How many images have each kind of fault; every kind is there, also without any image."""
    counts = Counter(kind for faults in judged.faults for kind in {fault.kind for fault in faults})
    readable = num_readable(looks)
    return tuple(Finding(kind=name, title=kind.title, num_images=counts[name], share=_share(counts[name], readable if kind.of_pixels else len(looks)))
                 for name, kind in KINDS.items())


def num_readable(looks: Sequence[Look]) -> int:
    return sum(look.seen is not None for look in looks)


def _share(count: int, total: int) -> float | None:
    return count / total if total else None


def histograms(looks: Sequence[Look], judged: Judged, rules: AuditRules, resolution: int, token_limit: int) -> tuple[Histogram, ...]:
    """Spread of what is measured; of what no image has there is none."""
    seen, fault = [look.seen for look in looks if look.seen], rules.fault
    captions = [tokens for look, tokens in zip(looks, judged.num_tokens, strict=True) if look.entry.row.text.strip()]
    short = [min(look.size) for look in looks if look.size]
    enlarged = [look.enlargement for look in looks if look.enlargement is not None]
    made = (_histogram("short_side", "Short side", "pixels", short),
            _histogram("enlargement", f"Enlargement by a view of {resolution} px", "times", enlarged, 1, "above"),
            _histogram("sharpness", "Sharpness", "log10 of a power ratio", [each.sharpness for each in seen], fault.min_sharpness, "below"),
            _histogram("blockiness", "Blocks of compression", "step across over within", [each.blockiness for each in seen], fault.max_blockiness, "above"),
            _histogram("tokens", "Length of captions", "tokens", captions, token_limit, "above"),
            *(_histogram(f"{part}_plausibility", f"Plausibility of {part}s", "probability", [value for each in seen for value in each.plausibility[part]],
                         fault.min_plausibility, "below", (0, 1)) for part in ("face", "hand")),
            _histogram("face_px", "Height of the largest face", "pixels", [each.face_px for each in seen if each.face_px is not None]),
            _histogram("yaw", "Turn of the largest face, right is above 0", "degrees", [each.yaw for each in seen if each.yaw is not None], ends=(-90, 90)),
            _histogram("luminance", "Mean luminance", "of 255", [each.luminance for each in seen], ends=(0, 255)))
    return tuple(each for each in made if each is not None)


def _histogram(name: str, title: str, unit: str, values: Sequence[float], limit: float | None = None, worse: str = "",
               ends: tuple[float, float] | None = None) -> Histogram | None:
    """Equal bins over `ends`, or over the values and, where some are on its bad side, the limit."""
    if not values:
        return None
    if ends is None:
        low, high = float(min(values)), float(max(values))
        ends = (low, high) if high > low else (low - 0.5, high + 0.5)
    counts, edges = np.histogram(values, BINS, ends)
    return Histogram(name=name, title=title, unit=unit, edges=tuple(edges.tolist()), counts=tuple(counts.tolist()), limit=limit, worse=worse)


def varieties(looks: Sequence[Look]) -> tuple[Variety, ...]:
    """How often each class of each respect is seen, and how many classes that amounts to."""
    made = []
    for name, respect in RESPECTS.items():
        found = [look.seen.classes[name] for look in looks if look.seen]
        counts = np.array([found.count(each) for each in respect.classes])
        made.append(Variety(name=name, title=respect.title, classes=respect.classes, counts=tuple(counts.tolist()), num_undetermined=found.count(None),
                            effective_classes=hill_number(counts / counts.sum(), 1) if counts.sum() else None))
    return tuple(made)


def perceived_groups(looks: Sequence[Look]) -> tuple[PerceivedGroups, ...]:
    """Perceived presentation of the largest face of each image, in aggregate, with what stays undetermined."""
    return tuple(_perceived(attribute, [look.seen.perceived[attribute] for look in looks if look.seen]) for attribute in ATTRIBUTES)


def _perceived(attribute: str, labels: Sequence[str | Unscored]) -> PerceivedGroups:
    classes = ATTRIBUTES[attribute].classes
    counts_K = np.array([labels.count(name) for name in classes])
    reasons = Counter(label.reason for label in labels if isinstance(label, Unscored))
    confusion_KK = known_confusion(attribute) if counts_K.sum() else None
    corrected_K = None if confusion_KK is None else corrected_shares(counts_K, confusion_KK)
    return PerceivedGroups(
        attribute=attribute, classes=classes, counts=tuple(counts_K.tolist()), shares=tuple((counts_K / counts_K.sum()).tolist()) if counts_K.sum() else None,
        corrected_shares=None if corrected_K is None else tuple(np.where(corrected_K > LEAST_SHARE, corrected_K, 0).tolist()),
        num_undetermined=sum(reasons.values()), undetermined_share=_share(sum(reasons.values()), len(labels)), undetermined_reasons=dict(reasons))


def limit_outcomes(limits: LimitSection, looks: Sequence[Look], found: Sequence[Finding], problems: Sequence[MetadataProblem],
                   perceived: Sequence[PerceivedGroups]) -> tuple[LimitOutcome, ...]:
    """Every declared limit against what was measured."""
    measured = _measured(looks, found, problems)
    outcomes = [_outcome(name, "at least" if name.startswith("min_") else "at most", limit, measured[name])
                for name, limit in limits.model_dump(exclude={"group"}, exclude_none=True).items()]
    for group in limits.group:
        share = _group_share(group.group, perceived)
        if group.min_share > 0:
            outcomes.append(_outcome(f"{group.group} min_share", "at least", group.min_share, share))
        if group.max_share < 1:
            outcomes.append(_outcome(f"{group.group} max_share", "at most", group.max_share, share))
    return tuple(outcomes)


def _measured(looks: Sequence[Look], found: Sequence[Finding], problems: Sequence[MetadataProblem]) -> Mapping[str, float | None]:
    """By name of a limit."""
    readable, seen = num_readable(looks), [look.seen for look in looks if look.seen]
    share_of = {f"max_{finding.kind}": finding.share for finding in found}
    below = share_of.pop("max_below_resolution")

    def with_part(part: str) -> float | None:
        return _share(sum(bool(each.plausibility[part]) for each in seen), readable)

    def of_lines(wanted: Callable[[MetadataProblem], bool]) -> float | None:
        return _share(sum(map(wanted, problems)), len(looks))

    return {**share_of, "min_images": readable, "min_share_at_resolution": None if below is None else 1 - below,
            "min_faces": with_part("face"), "min_hands": with_part("hand"),
            "max_captions_without_image": of_lines(lambda problem: problem.without_image),
            "max_bad_lines": of_lines(lambda problem: problem.line > 0 and not problem.without_image)}


def _group_share(group: str, perceived: Sequence[PerceivedGroups]) -> float | None:
    attribute, _, name = group.partition("=")
    each = next(each for each in perceived if each.attribute == attribute)
    return each.shares[each.classes.index(name)] if each.shares else None


def _outcome(name: str, bound: str, limit: float, value: float | None) -> LimitOutcome:
    held = value is not None and (value >= limit if bound == "at least" else value <= limit)
    return LimitOutcome(name=name, bound=bound, limit=limit, value=value, held=held)
