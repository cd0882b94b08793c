"""What metrics may learn from, and what they are tested on: the one place that splits people and kinds of corruption.

A metric that learned from a person or from a kind of corruption is never tested on it: the number would say how well it
remembers, and generators break hands in ways that nobody has listed.
"""

from __future__ import annotations

HELD_OUT_PEOPLE = ("P002", "P006", "P008")
"""OpenPeople: two women, one man, three hair styles, three tones. The reference of the Fréchet distances, too."""

CALIBRATION_PEOPLE = ("P004", "P007")
"""A woman and a man of the training people. Twins of the networks that never saw them say how their evidence is to be weighed."""

LEARNED_KINDS = frozenset({
    "hand_bent_finger", "hand_bitten", "hand_doubled", "hand_long_fingers", "hand_long_palm", "hand_melted", "hand_patched", "hand_shortened_finger",
    "hand_squeezed", "hand_stained", "hand_swirled", "hand_swollen_finger",
    "face_patched", "face_scaled_feature", "face_smeared", "face_swirled", "face_warped",
})
"""Kinds that classifiers are trained on. Every other registered kind is held out.

Held out are kinds, not the operations on pixels that they are made with: stretching (of one finger, of a palm), filling a hole with
what surrounds it, and painting skin serve learned and held-out kinds alike. The controls `hand_beside` and `face_beside` tell
whether a metric sees such an operation rather than a broken part.
"""
