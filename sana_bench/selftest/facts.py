"""What else is measured on the photographs, for the cards: skin tones under other light, perceived against requested classes."""

from __future__ import annotations

from collections.abc import Iterable

from sana_bench.assets import asset_path
from sana_bench.errors import InsufficientSamplesError
from sana_bench.metrics import METRICS
from sana_bench.selftest.agreement import AGREEMENT, KINDS, agreement, requested_of_people
from sana_bench.selftest.photographs import look_at, photographs_of
from sana_bench.selftest.skin_tone_shift import skin_tone_shift
from sana_bench.store import Store

SHIFT = "skin tone under other light"
EXTRACTORS_NEEDED = ("faces", "attributes", "skin_tone")


def measure_facts(metrics: Iterable[str], store: Store, device: str) -> dict[str, object]:
    """Facts for the cards of these metrics; nothing where none of them looks at people's attributes."""
    if not any({"attributes", "skin_tone"} & set(METRICS.get(name).extractors) for name in metrics):
        return {}
    shown = [each for side in ("training", "reference") for each in look_at(
        photographs_of(f"openpeople:{side}", store, emotions=None), ("hands", *EXTRACTORS_NEEDED), store, device, f"look at {side} people")
        if each.photograph.kind in KINDS]
    requested = requested_of_people(asset_path("openpeople"))
    tables = agreement([(requested[each.photograph.person], each.sample.features) for each in shown])
    portraits = [each for each in shown if each.photograph.kind != "emotion" and len(each.sample.features["faces"]["keypoints"])]
    if not portraits:
        raise InsufficientSamplesError("no face was found on any portrait of OpenPeople: run sana-bench assets verify")
    shift = skin_tone_shift([(each.photograph.item.load(), each.sample.features["faces"]["keypoints"][0]) for each in portraits])
    return {SHIFT: shift, AGREEMENT: tables}
