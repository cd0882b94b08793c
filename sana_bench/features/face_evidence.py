"""Evidence of damaged faces that landmarks cannot give: what a network sees in each, and how steady its landmarks are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sana_bench.evidence import network_file
from sana_bench.features import Features, View, register_extractor
from sana_bench.features.evidence import EvidenceReader
from sana_bench.features.upright_view import FACE


@register_extractor("face_evidence", version=2, needs=("faces",), assets=("efficientnet_lite0", "mediapipe_face"),
                    local_weights=(network_file("face"),))
class FaceEvidence:
    """Features as `EvidenceReader.read` describes them, one row a face of `faces`."""

    def __init__(self, device: str):
        self.reader = EvidenceReader(FACE, device)

    def extract(self, view: View, known: Mapping[str, Features]) -> Features:
        faces = known["faces"]["keypoints"]
        return self.reader.read(view.pixels_HW3, faces, np.zeros(len(faces), bool))

    def close(self) -> None:
        self.reader.close()
