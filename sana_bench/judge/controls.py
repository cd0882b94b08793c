"""What a judge is held to beside damage: the same picture twice is a tie, and the order of plainly different ones decides nothing.

Its self-test has shown by then whether it prefers whole photographs to damaged copies and minds harmless ones (selftest/).
"""

from __future__ import annotations

from collections.abc import Iterable

from sana_bench.judge.pairs import Judge, Preference
from sana_bench.metrics import Control

LEAST_TIES = 0.9
"""A judge that finds differences where there are none reports them of a fine-tune that changed nothing."""
LEAST_AGREEING = 0.8
"""Where orders disagree a pair is a tie, which hides a loss; at the larger doses the damage is plain."""

Pair = tuple[str, bytes, bytes]
"""Caption, JPEG of the candidate, JPEG of the base."""


def controls_of(judge: Judge, aspect: str, damaged: Iterable[Pair]) -> tuple[Control, ...]:
    """Both controls, on plainly damaged photographs and the whole ones that they were made of.

    Raises:
        MetricError: the endpoint cannot be asked.
    """
    pairs = list(damaged)
    whole = sorted({(caption, base) for caption, _, base in pairs})
    # No answer is neither a tie nor an agreement: what is not answered cannot pass.
    ties = [judge.choose(aspect, caption, base, base) == "tie" for caption, base in whole]
    found = [judge.prefer(aspect, *pair) for pair in pairs]
    agreeing = [isinstance(preference, Preference) and preference.orders_agree for preference in found]
    return (Control(name="the same picture twice is a tie", share=_share(ties), least=LEAST_TIES, number=len(ties)),
            Control(name="both orders of plainly damaged and whole give the same answer", share=_share(agreeing), least=LEAST_AGREEING,
                    number=len(agreeing)))


def _share(held: list[bool]) -> float:
    return round(sum(held) / len(held), 3) if held else 0.0
