"""audit.json: what an audit found, image by image, and in numbers of the whole folder."""

from __future__ import annotations

from typing import Literal

from sana_bench.records import Provenance, Record, Versioned


class Fault(Record):
    """One thing that is wrong with one image, or that is worth a look."""

    kind: str
    """A name in `faults.KINDS`."""
    reason: str
    badness: float
    """More is worse; comparable within a kind only."""
    part: int | None = None
    """Which hand or face it is of, in the order of the extractor."""
    other: str = ""
    """The file that it is a copy of."""


class ImageFacts(Record):
    """What is known of one image. Nothing in it is about who it shows."""

    file_name: str
    caption: str
    width: int | None
    """Pixels, upright; None where the head of the file cannot be read, as all that follows."""
    height: int | None
    sha256: str
    num_tokens: int
    enlargement: float | None
    """By which factor a view at the resolution enlarges it; below 1 it reduces it."""
    sharpness: float | None
    blockiness: float | None
    num_faces: int | None
    num_hands: int | None
    face_plausibility: tuple[float, ...]
    hand_plausibility: tuple[float, ...]
    faults: tuple[Fault, ...]


class Finding(Record):
    """How many images have one kind of fault."""

    kind: str
    title: str
    num_images: int
    share: float | None
    """Of all images, or of those that can be read for what is seen in them; None without any."""


class MetadataFinding(Record):
    """Something in the metadata that belongs to no image."""

    line: int
    """0 where it is of the whole file."""
    message: str
    caption: str


class Histogram(Record):
    """How a number is spread over the images."""

    name: str
    title: str
    unit: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    limit: float | None
    """From where on it is a fault; None where nothing is."""
    worse: Literal["below", "above", ""]


class Variety(Record):
    """How different the images are in one respect, by what is seen in their largest person."""

    name: str
    title: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    num_undetermined: int
    """Images that say nothing of it."""
    effective_classes: float | None
    """exp of the entropy of the shares: 1 where all are alike, the number of classes where all are equally frequent (Hill number of order 1)."""


class PerceivedGroups(Record):
    """Perceived classes of one attribute over all images: presentation in pictures, in aggregate, and no fact about anybody."""

    attribute: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    shares: tuple[float, ...] | None
    """Of the determined images; None without any."""
    corrected_shares: tuple[float, ...] | None
    """Shares that make what the classifier saw most likely, given how it errs on photographs; None where that is not known."""
    num_undetermined: int
    undetermined_share: float | None
    """Of all images that can be read."""
    undetermined_reasons: dict[str, int]


class LimitOutcome(Record):
    """One declared limit."""

    name: str
    bound: Literal["at least", "at most"]
    limit: float
    value: float | None
    """None where there is nothing to measure it on, which breaks the limit."""
    held: bool


class AuditReport(Versioned):
    """What an audit found."""

    source: str
    resolution: int
    """Side of the square views that images are held against, or of the square that their buckets have the area of, in pixels."""
    aspect_ratio_buckets: bool = False
    """Whether a view is the nearest of Sana's sizes instead of a square."""
    num_images: int
    num_readable: int
    token_limit: int
    tokens: str
    """Whose tokenizer counted them."""
    faults: dict[str, int | float]
    """From where on something was a fault."""
    findings: tuple[Finding, ...]
    metadata: tuple[MetadataFinding, ...]
    histograms: tuple[Histogram, ...]
    varieties: tuple[Variety, ...]
    perceived: tuple[PerceivedGroups, ...]
    duplicates: tuple[tuple[str, ...], ...]
    """Files of the same bytes, by group."""
    near_duplicates: tuple[tuple[str, ...], ...]
    """Pictures that look the same, by group; the largest first."""
    limits: tuple[LimitOutcome, ...]
    passed: bool
    """Whether every declared limit held; true without any."""
    look_at: tuple[str, ...]
    """Files with faults: the worst of each kind first, then the second worst."""
    images: tuple[ImageFacts, ...]
    provenance: Provenance
