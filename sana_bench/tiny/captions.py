"""Shorter and vaguer variants of a caption, so that tiny models learn prompts that leave things open."""

from __future__ import annotations

import re

import torch

SUBJECT = re.compile(r"^(?P<framing>.*?) of a (?P<noun>woman|man) aged (?P<age>\d+ to \d+) with (?P<hair>[^,]*)")


def caption_variant(caption: str, generator: torch.Generator) -> str:
    """A variant of an OpenPeople caption: the subject in one of five degrees of detail, some clauses left out.

    The framing always stays. A caption of another form comes back unchanged.
    """
    match = SUBJECT.match(caption)
    if match is None:
        return caption

    def chance() -> float:
        return float(torch.rand((), generator=generator))

    framing, noun, age, hair = match["framing"], match["noun"], match["age"], match["hair"]
    subjects = (f"a {noun} aged {age} with {hair}", f"a {noun} with {hair}", f"a {noun} aged {age}", f"a {noun}", "a person")
    shares = (0.45, 0.6, 0.7, 0.8, 1.0)
    draw = chance()
    subject = next(text for text, share in zip(subjects, shares, strict=True) if draw < share or share == 1.0)
    clauses = [clause for clause in caption[match.end():].split(", ") if clause]
    return ", ".join([f"{framing} of {subject}", *(clause for clause in clauses if chance() < 0.85)])
