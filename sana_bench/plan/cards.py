"""Memory and speed of GPUs that people rent, and what of it a run cannot have."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sana_bench.errors import ConfigError
from sana_bench.registry import near_names

MIB, GIB = 2**20, 2**30
CONTEXT_BYTES = GIB
"""Assumed for the CUDA context, loaded kernels, and workspaces of cuBLAS and cuDNN."""
FRAGMENTATION = 0.05
"""Assumed share of the peak that the caching allocator holds beside it."""


@dataclass(frozen=True)
class Card:
    """One GPU."""

    name: str
    memory: int
    """Bytes, as nvidia-smi reports them."""
    tflops: float | None = None
    """Dense bfloat16 products with float32 sums, 10^12 a second, as its maker's data sheet says; None where the card is not known."""

    @property
    def usable(self) -> int:
        """Bytes of tensors that fit at once."""
        return max(0, round((self.memory - CONTEXT_BYTES) / (1 + FRAGMENTATION)))

    def margin(self, peak: int) -> int:
        """Bytes that are taken beside a peak of tensors."""
        return CONTEXT_BYTES + round(FRAGMENTATION * peak)


CARDS = {card.name: card for card in (
    Card("b200", 183359 * MIB, 2250), Card("h200", 143771 * MIB, 989), Card("h100", 81559 * MIB, 989), Card("a100-80", 81920 * MIB, 312),
    Card("a100-40", 40960 * MIB, 312), Card("l40s", 46068 * MIB, 362), Card("rtx-6000-ada", 49140 * MIB, 364), Card("a6000", 49140 * MIB, 155),
    Card("5090", 32607 * MIB, 210), Card("4090", 24564 * MIB, 165), Card("3090", 24576 * MIB, 71), Card("a10", 23028 * MIB, 125),
    Card("l4", 23034 * MIB, 121))}
DEFAULT_CARD = "h100"
MEMORY = re.compile(r"(\d+(?:\.\d+)?) ?(GiB|GB)", re.IGNORECASE)
UNITS = {"gib": GIB, "gb": 10**9}


def find_card(name: str) -> Card:
    """Raises ConfigError."""
    if name.lower() not in CARDS:
        raise ConfigError(f'no card "{name}" is known.{near_names(name.lower(), list(CARDS))} Known: {", ".join(CARDS)}; of another one give its '
                          f"memory, as --memory 24GiB")
    return CARDS[name.lower()]


def card_of_memory(text: str) -> Card:
    """A card that only its memory is known of, such as `24GiB` or `80GB`.

    Raises:
        ConfigError: it says no size, or one that holds nothing.
    """
    match = MEMORY.fullmatch(text.strip())
    if not match:
        raise ConfigError(f'--memory takes a size such as 24GiB or 80GB, not "{text}"')
    memory = round(float(match[1]) * UNITS[match[2].lower()])
    if memory <= CONTEXT_BYTES:
        raise ConfigError(f"--memory {text} holds nothing beside the CUDA context, for which {CONTEXT_BYTES / GIB:.0f} GiB are assumed")
    return Card(text.strip(), memory)
