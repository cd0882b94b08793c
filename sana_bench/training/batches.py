"""Batches as training sees them, read by a thread while others are trained on.

All randomness of a sample comes from a generator of its own, seeded by stage, batch and place in the batch over all processes: two processes
see what one sees with twice the batch, and a resumed run what an unbroken one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from sana_bench.data.embeddings import EmbeddingCache
from sana_bench.data.latents import LatentCache
from sana_bench.data.samples import Draw
from sana_bench.data.training_set import TrainingSet
from sana_bench.data.views import region_boxes
from sana_bench.data.weight_map import region_weights
from sana_bench.train_config import TrainSection
from sana_bench.training.flow_matching import draw_sigmas
from sana_bench.training.loop import step_generator
from sana_bench.workers import ahead

if TYPE_CHECKING:
    import torch

BATCHES_AHEAD = 4


@dataclass(frozen=True)
class Batch:
    """What one forward pass of one process takes, on the processor until `to` moves it."""

    latents: torch.Tensor
    """(B, C, h, w) float32."""
    noise: torch.Tensor
    """(B, C, h, w) float32."""
    sigmas: torch.Tensor
    """(B,) float32."""
    prompt_embeds: torch.Tensor
    """(B, T, D)."""
    prompt_attention_mask: torch.Tensor
    """(B, T) int64."""
    weights: torch.Tensor | None
    """(B, 1, h, w) float32; None where every place counts the same."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """On a device; embeddings in `dtype`, in which the transformer computes."""
        moved = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {name: value if value is None else value.to(device, dtype if name == "prompt_embeds" else None, non_blocking=True)
                 for name, value in moved.items()}
        return Batch(**moved)


def drops_caption(settings: TrainSection, generator: torch.Generator) -> bool:
    """Whether a sample sees the empty caption: the first of all that its generator draws."""
    import torch

    return torch.rand((), generator=generator).item() < settings.caption_dropout


class BatchReader:
    """Reads the batches of one of several processes.

    Args:
        process: number of this process, of `settings.num_processes`.
    """

    def __init__(self, images: TrainingSet, latents: LatentCache, embeddings: EmbeddingCache, settings: TrainSection, process: int):
        self._images, self._latents, self._embeddings, self._settings, self._process = images, latents, embeddings, settings, process

    @contextmanager
    def stage(self, stage: int) -> Iterator[Callable[[int], Batch]]:
        """Gives a function from the number of a batch in a stage to the batch; numbers must be asked for in their order, from any on."""
        total, coming = len(self._images.stages[stage].pictures_MG), iter(())
        with ThreadPoolExecutor(1, "batch") as pool:
            def take(number: int) -> Batch:
                nonlocal coming
                following = next(coming, None)
                if following is None or following[0] != number:
                    coming = ahead(pool, lambda each: (each, self.read(stage, each)), range(number, total), BATCHES_AHEAD)
                    following = next(coming)
                return following[1]

            yield take

    def read(self, stage: int, number: int) -> Batch:
        """This process's part of a batch."""
        import torch

        draws = self._images.stages[stage].batch(number)
        size = len(draws) // self._settings.num_processes
        places = range(self._process * size, (self._process + 1) * size)
        samples = [self._sample(draws[place], step_generator(self._settings.seed, stage, number, place)) for place in places]
        latents, noise, sigmas, embeds, masks, weights = zip(*samples, strict=True)
        return Batch(torch.stack(latents), torch.stack(noise), torch.cat(sigmas), torch.stack(embeds), torch.stack(masks),
                     torch.stack(weights) if weights[0] is not None else None)

    def _sample(self, draw: Draw, generator: torch.Generator) -> tuple:
        import torch

        settings, text = self._settings, self._images.pictures[draw.picture].text
        dropped = drops_caption(settings, generator)
        sigma = draw_sigmas(1, generator, flow_shift=settings.flow_shift, weighting_scheme=settings.weighting_scheme,
                            logit_mean=settings.logit_mean, logit_std=settings.logit_std, mode_scale=settings.mode_scale)
        latents = self._latents.read(draw)
        noise = torch.randn(latents.shape, generator=generator)
        return latents, noise, sigma, *self._embeddings.read("" if dropped else text), self._weights(draw)

    def _weights(self, draw: Draw) -> torch.Tensor | None:
        """(1, h, w) float32."""
        import torch

        regions = self._settings.regions
        if regions.face_weight == 1 and regions.hand_weight == 1:
            return None
        boxes = region_boxes(self._images.pictures[draw.picture], draw, self._latents.augmentation(draw))
        return torch.from_numpy(region_weights(boxes, draw.width, draw.height, regions))[None]
