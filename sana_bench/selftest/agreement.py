"""How often perceived classes are those that were asked for, on the pictures of OpenPeople.

Labels are what an image model was asked for, not what it drew. Sex and age range are mostly kept; a requested Fitzpatrick type
is a noisy label: the ten people were asked for as types II to V and all come out within two neighbouring Monk tones. So the
tables of gender and age say how the classifier errs, that of skin tone says as much about the image model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sana_bench.data.openpeople import find_people
from sana_bench.features import Features
from sana_bench.metrics import Unscored
from sana_bench.metrics.perceived import ATTRIBUTES, age_band, perceived_class
from sana_bench.prompts import Attribute

AGREEMENT = "perceived against requested"
"""Name of the tables among the facts of a self-test."""

KINDS = ("studio_portrait", "amateur_selfie", "emotion")
"""Pictures in which a face is large and looks at the camera."""

GENDER = {"female": "feminine", "male": "masculine"}
FITZPATRICK = {"I": "light", "II": "light", "III": "medium", "IV": "medium", "V": "dark", "VI": "dark"}


def requested_classes(metadata: dict) -> dict[Attribute, str]:
    """The class of each attribute that a person of OpenPeople was asked for; of an age range, that of its midpoint."""
    demographics = metadata["character_details"]["demographics"]
    low, high = map(int, demographics["age_range"].split("-"))
    return {"gender": GENDER[demographics["sex"]], "age": age_band((low + high) / 2),
            "skin_tone": FITZPATRICK[demographics["skin_tone"].removeprefix("Fitzpatrick ")]}


def requested_of_people(root: Path) -> dict[str, dict[Attribute, str]]:
    """The same for every person below `root` (the unpacked OpenPeople), by id."""
    return {person.name: requested_classes(json.loads((person / "metadata.json").read_text())) for person in find_people(root)}


def agreement(pictures: Sequence[tuple[Mapping[Attribute, str], Mapping[str, Features]]]) -> dict[Attribute, dict]:
    """Perceived against requested classes.

    Args:
        pictures: (requested class of each attribute, features by extractor: faces, attributes, skin_tone) each.

    Returns:
        By attribute: `labels`; `confusion`, counts with a row for each requested and a column for each perceived class;
        `undetermined`, the share of pictures without a perceived class; `agreement`, the share of the others whose class is
        the requested one. Shares are None where they would be of nothing.
    """
    return {attribute: _table(attribute, pictures) for attribute in ATTRIBUTES}


def _table(attribute: Attribute, pictures: Sequence[tuple[Mapping[Attribute, str], Mapping[str, Features]]]) -> dict:
    labels = ATTRIBUTES[attribute].classes
    pairs = [(requested[attribute], perceived_class(attribute, features)) for requested, features in pictures]
    confusion = np.zeros((len(labels), len(labels)), int)
    for requested, perceived in pairs:
        if not isinstance(perceived, Unscored):
            confusion[labels.index(requested), labels.index(perceived)] += 1
    determined = int(confusion.sum())
    return {"labels": list(labels), "confusion": confusion.tolist(),
            "undetermined": round(1 - determined / len(pairs), 4) if pairs else None,
            "agreement": round(float(np.trace(confusion)) / determined, 4) if determined else None}
