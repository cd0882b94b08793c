"""Text embeddings of captions, made once and kept in the store, one file a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.config import GenerateSection
from sana_bench.data.cached_tensors import read_cached
from sana_bench.generation.sampling import instruction_of
from sana_bench.progress import progress
from sana_bench.store import Store, digest_of, write_bytes

if TYPE_CHECKING:
    import torch


class EmbeddingCache:
    """Embeddings of texts, through the pipeline's own encoding, so that training sees what sampling sees: lower case, Sana's instruction as a
    list in front of each caption where the recipe has it there, none in front of the empty one.

    Args:
        encoder_identity: names the text encoder and all that it is run with.
    """

    def __init__(self, settings: GenerateSection, store: Store, encoder_identity: str):
        self._settings, self._store = settings, store
        self._identity = digest_of([encoder_identity, settings.max_sequence_length, instruction_of(settings)])

    def path(self, text: str) -> Path:
        key = digest_of([self._identity, text])
        return self._store.folder("embeddings", key[:2]) / f"{key}.safetensors"

    def missing(self, texts: Sequence[str]) -> list[str]:
        return [text for text in dict.fromkeys(texts) if not self.path(text).exists()]

    def encode(self, texts: Sequence[str], pipeline) -> None:
        """Encode texts, without what stands behind their last token: it is masked wherever it is used."""
        import torch
        from safetensors.torch import save

        with progress("encode captions", len(texts)) as tracker, torch.inference_mode():
            for text in texts:
                embeds, mask, _, _ = pipeline.encode_prompt(
                    text, do_classifier_free_guidance=False, max_sequence_length=self._settings.max_sequence_length,
                    complex_human_instruction=instruction_of(self._settings) if text else None)
                length = int(mask[0].nonzero().max()) + 1
                write_bytes(self.path(text), save({"embeds": embeds[0, :length].cpu().contiguous(), "mask": mask[0, :length].cpu().contiguous()}))
                tracker.advance()

    def read(self, text: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings (T, D) in the encoder's dtype and mask (T,) int64, 1 for tokens that count; T is `max_sequence_length`, zeros behind the text.

        Raises:
            StoreError: the file is missing or damaged.
        """
        from torch.nn.functional import pad

        embeds, mask = read_cached(self.path(text), "embeds", "mask")
        left = self._settings.max_sequence_length - len(mask)
        return pad(embeds, (0, 0, 0, left)), pad(mask, (0, left))
