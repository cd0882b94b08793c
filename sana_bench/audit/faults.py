"""What is wrong with each image, or worth a look: the one place that decides it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sana_bench.audit.captions import TokenCounter, normalised, num_words
from sana_bench.audit.duplicates import near_groups, same_groups
from sana_bench.audit.looks import PARTS, Look
from sana_bench.audit.record import Fault
from sana_bench.audit.rules import FaultSection
from sana_bench.features.perceptual_hash import differing_bits


@dataclass(frozen=True)
class Kind:
    """One kind of fault."""

    title: str
    of_pixels: bool
    """Whether it can be told of readable images only, which its share is then of."""


KINDS = {
    "unreadable": Kind("cannot be read", False),
    "implausible_hands": Kind("a hand looks damaged to the network", True),
    "implausible_faces": Kind("a face looks damaged to the network", True),
    "blank": Kind("blank: one colour, or a smooth gradient", True),
    "missing_captions": Kind("no caption", False),
    "blurred": Kind("blurred", True),
    "compressed": Kind("blocks of strong compression", True),
    "below_resolution": Kind("smaller than the resolution", True),
    "duplicates": Kind("same file as another", False),
    "near_duplicates": Kind("looks like another", True),
    "long_captions": Kind("caption beyond the tokens that are read", False),
    "short_captions": Kind("caption of very few words", False),
    "duplicate_captions": Kind("same caption as another image", False),
}
"""By name, gravest first. A limit on the share of images with one is `max_<name>`."""


@dataclass(frozen=True)
class Judged:
    """Faults of all images."""

    faults: tuple[tuple[Fault, ...], ...]
    """Of each image."""
    num_tokens: tuple[int, ...]
    duplicates: tuple[tuple[int, ...], ...]
    """Images by group of the same content."""
    near_duplicates: tuple[tuple[int, ...], ...]
    """Images by group, the largest first, of each content one."""


def judge(looks: Sequence[Look], rules: FaultSection, resolution: int, counter: TokenCounter, token_limit: int) -> Judged:
    """All faults of all images."""
    tokens = tuple(counter.count(look.entry.row.text) if look.entry.row.text.strip() else 0 for look in looks)
    found: list[list[Fault]] = [[*_unreadable(look), *_of_pixels(look, rules, resolution), *_of_caption(look, num, rules, token_limit)]
                                for look, num in zip(looks, tokens, strict=True)]
    same = same_groups([look.content or index for index, look in enumerate(looks)])
    near = _near(looks, rules.max_differing_bits)
    for group in same:
        _copies(found, looks, group, "duplicates", lambda index, first: "the same bytes as")
    for group in near:
        _copies(found, looks, group, "near_duplicates", lambda index, first: f"{_bits(looks, index, first)} of 255 bits differ from")
    captions = [normalised(look.entry.row.text) or index for index, look in enumerate(looks)]
    for group in same_groups(captions):
        for index in group:
            found[index].append(Fault(kind="duplicate_captions", reason=f"the same caption as {_others(len(group) - 1)}", badness=len(group)))
    return Judged(tuple(map(tuple, found)), tokens, tuple(map(tuple, same)), tuple(map(tuple, near)))


def _unreadable(look: Look) -> list[Fault]:
    return [Fault(kind="unreadable", reason=look.problem, badness=0)] if look.problem else []


def _of_pixels(look: Look, rules: FaultSection, resolution: int) -> list[Fault]:
    seen, faults = look.seen, list[Fault]()
    if seen is None:
        return faults
    if not seen.bits_4.any():
        faults.append(Fault(kind="blank", reason="nothing stands out anywhere", badness=0))
    if seen.sharpness < rules.min_sharpness:
        faults.append(Fault(kind="blurred", reason=f"sharpness {seen.sharpness:.2f}, below {rules.min_sharpness:g}", badness=-seen.sharpness))
    if seen.blockiness > rules.max_blockiness:
        faults.append(Fault(kind="compressed", reason=f"steps across blocks {seen.blockiness:.2f} times those within, above {rules.max_blockiness:g}",
                            badness=seen.blockiness))
    if look.enlargement > 1:
        enlarges = f"{look.size[0]} x {look.size[1]}: a view of {resolution} px enlarges it {look.enlargement:.2f} times"
        faults.append(Fault(kind="below_resolution", reason=enlarges, badness=look.enlargement))
    return faults + [fault for part in PARTS for fault in _implausible(part, seen.plausibility[part], rules.min_plausibility)]


def _implausible(part: str, values: tuple[float, ...], least: float) -> list[Fault]:
    if not values or min(values) >= least:
        return []
    worst = int(np.argmin(values))
    which = f"{part} {worst + 1} of {len(values)}" if len(values) > 1 else part
    return [Fault(kind=f"implausible_{part}s", reason=f"{which}: plausibility {values[worst]:.2f}, below {least:g}", badness=-values[worst], part=worst)]


def _of_caption(look: Look, num_tokens: int, rules: FaultSection, token_limit: int) -> list[Fault]:
    text = look.entry.row.text
    if not text.strip():
        reason = "its line of the metadata has no text" if look.entry.listed else "no usable line of the metadata names it"
        return [Fault(kind="missing_captions", reason=reason, badness=0)]
    if num_words(text) < rules.min_words:
        return [Fault(kind="short_captions", reason=f"{num_words(text)} word(s), below {rules.min_words}", badness=-num_words(text))]
    if num_tokens > token_limit:
        return [Fault(kind="long_captions", reason=f"{num_tokens} tokens, of which {token_limit} are read", badness=num_tokens)]
    return []


def _near(looks: Sequence[Look], most_bits: int) -> list[list[int]]:
    """Groups of pictures that look the same, the largest first; of files of one content the first stands for all. What shows one colour is left out."""
    first_of = {look.content: index for index, look in reversed(list(enumerate(looks))) if look.seen and look.seen.bits_4.any()}
    indices = sorted(first_of.values())
    if len(indices) < 2:
        return []
    groups = near_groups(np.stack([looks[index].seen.bits_4 for index in indices]), most_bits)
    return [sorted((indices[each] for each in group), key=lambda index: -looks[index].size[0] * looks[index].size[1]) for group in groups]


def _copies(found: list[list[Fault]], looks: Sequence[Look], group: Sequence[int], kind: str, words: Callable[[int, int], str]) -> None:
    """A fault of all of a group but the first."""
    first, name = group[0], looks[group[0]].entry.row.file_name
    for index in group[1:]:
        found[index].append(Fault(kind=kind, reason=f"{words(index, first)} {name}", badness=len(group), other=name))


def _bits(looks: Sequence[Look], index: int, other: int) -> int:
    return int(differing_bits(looks[index].seen.bits_4, looks[other].seen.bits_4))


def _others(number: int) -> str:
    return "one other image" if number == 1 else f"{number} other images"


def in_order_of_need(faults: Mapping[str, Sequence[Fault]]) -> list[str]:
    """Files with faults, by file: the worst of each kind, gravest kind first, then the second worst of each, and so on."""
    places = []
    for severity, kind in enumerate(KINDS):
        of_kind = sorted((-fault.badness, name) for name, each in faults.items() for fault in each if fault.kind == kind)
        places += [(rank, severity, name) for rank, (_, name) in enumerate(of_kind)]
    return list(dict.fromkeys(name for _, _, name in sorted(places)))
