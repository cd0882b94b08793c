"""How far a skin tone moves when only exposure or white balance do: what of a difference in tone may be the light alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from sana_bench.corruptions.pictures import balance, expose
from sana_bench.errors import InsufficientSamplesError
from sana_bench.features.skin_tone import SkinTone, skin_tone
from sana_bench.metrics.perceived import tone_band

STOPS, KELVIN, NEUTRAL = 0.5, 500, 6500
"""What a photographer would hardly call a mistake: half a stop of light, and 500 K of a lamp's colour around daylight."""

CHANGES = {
    "+0.5 stop": partial(expose, stops=STOPS),
    "-0.5 stop": partial(expose, stops=-STOPS),
    "+500 K": partial(balance, kelvin=NEUTRAL + KELVIN),
    "-500 K": partial(balance, kelvin=NEUTRAL - KELVIN),
}
"""By name: a picture to the changed picture. More kelvin is colder (bluer), fewer warmer."""


def skin_tone_shift(faces: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict:
    """How the tone of real faces moves under each of CHANGES.

    Args:
        faces: ((H, W, 3) uint8 picture, (478, 2) points of one face in its pixels) each.

    Returns:
        `num_faces`, those that show skin; and by change under `changes`:
        lab: median CIE76 distance between the tones before and after.
        ita, hue: median change in degrees, with its sign.
        monk_changed, band_changed: share of faces whose nearest Monk tone, or band of these (1-4, 5-7, 8-10), is another
            one, among the faces whose tone is determined before and after.
        undetermined: share of the faces determined before that are no longer, be it that every pixel is burnt out.
        All None where they would be of nothing.

    Raises:
        InsufficientSamplesError: no face shows skin.
    """
    measured = [(skin_tone(*part), {name: skin_tone(change(part[0]), part[1]) for name, change in CHANGES.items()})
                for part in (_around_face(*face) for face in faces)]
    seen = [(before, after) for before, after in measured if before.num_pixels]
    if not seen:
        raise InsufficientSamplesError(f"none of {len(faces)} face(s) shows skin; give faces of at least 45 pixels across")
    return {"num_faces": len(seen), "changes": {name: _shift([(before, after[name]) for before, after in seen])
                                                for name in CHANGES}}


def _shift(pairs: Sequence[tuple[SkinTone, SkinTone]]) -> dict[str, float | None]:
    visible = [(before, after) for before, after in pairs if after.num_pixels]
    determined = [(before.monk, after.monk) for before, after in pairs if before.monk]
    both = [(before, after) for before, after in determined if after]
    return {"lab": _of(np.median, [np.linalg.norm(after.lab - before.lab) for before, after in visible]),
            "ita": _of(np.median, [_turn(before.ita, after.ita) for before, after in visible]),
            "hue": _of(np.median, [_turn(before.hue, after.hue) for before, after in visible]),
            "monk_changed": _of(np.mean, [before != after for before, after in both]),
            "band_changed": _of(np.mean, [tone_band(before) != tone_band(after) for before, after in both]),
            "undetermined": _of(np.mean, [after == 0 for _, after in determined])}


def _turn(before: float, after: float) -> float:
    """Degrees from one angle to another the short way, in [-180, 180)."""
    return (after - before + 180) % 360 - 180


def _of(reduce: Callable[[Sequence[float]], float], values: Sequence[float]) -> float | None:
    return float(reduce(values)) if values else None


def _around_face(pixels_HW3: np.ndarray, face_N2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of the picture that holds the face, which is all that is changed, and the points in it."""
    height, width = pixels_HW3.shape[:2]
    left, top = np.clip(np.floor(face_N2.min(axis=0)).astype(int), 0, (width, height))
    right, bottom = np.clip(np.ceil(face_N2.max(axis=0)).astype(int) + 1, 0, (width, height))
    return pixels_HW3[top:bottom, left:right], face_N2 - np.array([left, top], face_N2.dtype)
