"""audit: a folder of images -> audit.json and audit.html."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sana_bench.audit import summary
from sana_bench.audit.captions import TokenCounter, token_counter
from sana_bench.audit.faults import Judged, in_order_of_need, judge
from sana_bench.audit.folder import AuditFolder, read_folder
from sana_bench.audit.html import render_audit
from sana_bench.audit.looks import EXTRACTED, Look, look_at
from sana_bench.audit.pictures import show
from sana_bench.audit.record import AuditReport, ImageFacts, MetadataFinding
from sana_bench.audit.rules import AuditRules
from sana_bench.config import RunConfig
from sana_bench.data.buckets import bucket_of
from sana_bench.extract import in_order
from sana_bench.features import EXTRACTORS
from sana_bench.models import resolve_device
from sana_bench.provenance import collect_provenance
from sana_bench.store import Store, write_bytes, write_record

RECORD_FILE, PAGE_FILE = "audit.json", "audit.html"


@dataclass(frozen=True)
class AuditOutcome:
    """A finished audit."""

    report: AuditReport
    folder: Path


def audit(source: str, config: RunConfig, rules: AuditRules, resolution: int, out: Path | None = None) -> AuditOutcome:
    """Look at everything in a source and write what was found; nothing in the source is changed.

    Args:
        source: as `data.training`, or a folder that training could not read yet.
        config: names the base, whose tokenizer counts, the store, the device and the folder of reports.
        resolution: side of the square views that training will make, or of the square that its buckets have the area of, in pixels.
        out: folder of the two files; `audit-<source>` in the folder of reports by default.

    Raises:
        ConfigError: the recipe has buckets, and Sana none at that resolution.
        DataError: there is no such source, or nothing in it.
        StoreError: the files cannot be written.
    """
    store, device = Store(config.run.store), resolve_device(config.run.device)
    has_buckets = config.train.aspect_ratio_buckets
    view_size = partial(bucket_of, resolution=resolution, aspect_ratio_buckets=has_buckets)
    view_size((resolution, resolution))  # a resolution without buckets is told before anything is looked at
    folder = read_folder(source, store)
    looks = look_at(folder.entries, view_size, store, device, config.run.num_workers)
    report = make_report(folder, looks, rules, resolution, token_counter(config.model), config.generate.max_sequence_length, device, has_buckets)
    return AuditOutcome(report, write_report(report, looks, out or Path(config.run.reports) / f"audit-{_slug(folder)}"))


def make_report(folder: AuditFolder, looks: Sequence[Look], rules: AuditRules, resolution: int, counter: TokenCounter, token_limit: int,
                device: str, aspect_ratio_buckets: bool = False) -> AuditReport:
    """What was seen, as a record."""
    judged = judge(looks, rules.fault, resolution, counter, token_limit)
    found, perceived = summary.findings(looks, judged), summary.perceived_groups(looks)
    limits = summary.limit_outcomes(rules.limit, looks, found, folder.problems, perceived)
    names = [look.entry.row.file_name for look in looks]
    return AuditReport(
        source=folder.source, resolution=resolution, aspect_ratio_buckets=aspect_ratio_buckets, num_images=len(looks),
        num_readable=summary.num_readable(looks), token_limit=token_limit,
        tokens=counter.note, faults=rules.fault.model_dump(), findings=found,
        metadata=tuple(MetadataFinding(line=each.line, message=each.message, caption=each.caption) for each in folder.problems),
        histograms=summary.histograms(looks, judged, rules, resolution, token_limit), varieties=summary.varieties(looks), perceived=perceived,
        duplicates=_named(judged.duplicates, names), near_duplicates=_named(judged.near_duplicates, names), limits=limits,
        passed=all(each.held for each in limits), look_at=tuple(in_order_of_need(dict(zip(names, judged.faults, strict=True)))),
        images=_facts(looks, judged),
        provenance=collect_provenance(device, {f"extractor {name}": EXTRACTORS.get(name).digest() for name in in_order(EXTRACTED)}))


def _named(groups: Sequence[Sequence[int]], names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(names[index] for index in group) for group in groups)


def _facts(looks: Sequence[Look], judged: Judged) -> tuple[ImageFacts, ...]:
    """All that is written of single images; perceived attributes are not."""
    made = []
    for look, faults, num_tokens in zip(looks, judged.faults, judged.num_tokens, strict=True):
        (width, height), seen = look.size or (None, None), look.seen
        plausibility = {part: tuple(round(value, 4) for value in values) for part, values in seen.plausibility.items()} if seen else {"face": (), "hand": ()}
        made.append(ImageFacts(
            file_name=look.entry.row.file_name, caption=look.entry.row.text, width=width, height=height, sha256=look.content, num_tokens=num_tokens,
            enlargement=look.enlargement, sharpness=seen and seen.sharpness, blockiness=seen and seen.blockiness,
            num_faces=seen and len(plausibility["face"]), num_hands=seen and len(plausibility["hand"]), face_plausibility=plausibility["face"],
            hand_plausibility=plausibility["hand"], faults=faults))
    return tuple(made)


def _slug(folder: AuditFolder) -> str:
    """Names the source in a path: `openpeople-training`, `my_photos`; letters of any script, so that two folders do not share a name for want of Latin ones."""
    name = folder.source if ":" in folder.source else folder.folder.resolve().name
    return re.sub(r"[^\w.]+", "-", name.lower()).strip("-.") or "folder"


def write_report(report: AuditReport, looks: Sequence[Look], out: Path) -> Path:
    """Write page and record into a folder; the page first, so that where the record is both are."""
    by_name = {look.entry.row.file_name: look for look in looks}
    pictures = show(report, by_name)
    write_bytes(out / PAGE_FILE, render_audit(report, pictures).encode())
    write_record(out / RECORD_FILE, report)
    return out
