"""Evidence of damaged hands that landmarks cannot give: what a network sees in each, and how steady its landmarks are."""

from __future__ import annotations

from collections.abc import Mapping

from sana_bench.evidence import network_file
from sana_bench.features import Features, View, register_extractor
from sana_bench.features.evidence import EvidenceReader
from sana_bench.features.upright_view import HAND


@register_extractor("hand_evidence", version=2, needs=("hands",), assets=("efficientnet_lite0", "mediapipe_hand"),
                    local_weights=(network_file("hand"),))
class HandEvidence:
    """Features as `EvidenceReader.read` describes them, one row a hand of `hands`.

    Left hands are mirrored, so that the network sees right ones only. A mirrored finger keeps its meaning, as the points are
    numbered from thumb to little finger.
    """

    def __init__(self, device: str):
        self.reader = EvidenceReader(HAND, device)

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        hands = known["hands"]
        return self.reader.read(view.pixels_HW3, hands["keypoints"], hands["side"] == 0)

    def close(self) -> None:
        self.reader.close()
