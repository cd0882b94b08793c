"""Training of the small CLIP on OpenPeople's training people, over cached features of the frozen image tower."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.features.clip_model import SEED, build_clip, clip_config, load_tokenizer, save_clip, tokenize
from sana_bench.store import digest_of, sha256_file
from sana_bench.tiny.clip_card import write_card
from sana_bench.tiny.clip_views import draw_captions, view_features
from sana_bench.training.loop import LoopSettings, run_loop, step_generator
from sana_bench.training.trainee import Trainee

if TYPE_CHECKING:
    import torch
    from open_clip.model import CustomTextCLIP

    from sana_bench.data.manifest import Manifest

BATCH_SIZE = 128
SETTINGS = dict(learning_rate=1e-3, warmup_steps=50, schedule="cosine", checkpoint_every=200)
WEIGHT_DECAY = 0.1
FEATURE_DROPOUT = 0.4


def train_clip(training: Manifest, reference: Manifest, tokenizer_folder: Path, work_folder: Path, out_folder: Path, *,
               total_steps: int, after_step: Callable[[int], None] = lambda step: None) -> dict:
    """Train on `training`, write weights, config and card to `out_folder`, return the card.

    Args:
        training: pictures that are learned from, captioned as OpenPeople's are.
        reference: pictures of other people, on which the card's numbers are measured.
        tokenizer_folder: what `train_tokenizer` wrote.
        work_folder: image features and training state; the same call goes on from there after a kill.
        total_steps: optimizer steps.
        after_step: called with the number of finished steps.
    """
    start = time.monotonic()
    tokenizer = load_tokenizer(tokenizer_folder)
    config = clip_config(tokenizer)
    model = build_clip(config)
    features_NVD = view_features(training, model.visual.trunk, work_folder / f"views_{training.digest}")
    identity = digest_of(["clip", training.digest, sha256_file(tokenizer_folder / "tokenizer.json"), config, total_steps,
                          SETTINGS, BATCH_SIZE, WEIGHT_DECAY, FEATURE_DROPOUT])
    losses = fit_clip(model, tokenizer, features_NVD, [row.text for row in training.rows], work_folder,
                      total_steps=total_steps, identity=identity, after_step=after_step)
    save_clip(model, config, out_folder)
    facts = dict(pictures=len(training.rows), views=features_NVD.shape[1], seconds=round(time.monotonic() - start))
    return write_card(out_folder, tokenizer, reference, losses=losses, training=dict(seed=SEED, **facts))


def fit_clip(model: CustomTextCLIP, tokenizer, features_NVD: torch.Tensor, captions: Sequence[str], folder: Path, *,
             total_steps: int, identity: str, after_step: Callable[[int], None] = lambda step: None) -> list[float]:
    """Train head and text tower on (N, V, 1280) features of V views of N pictures; the losses. Resumes from `folder`."""
    import torch

    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    matrices = [value for value in weights.values() if value.ndim >= 2]
    others = [value for value in weights.values() if value.ndim < 2]
    optimizer = torch.optim.AdamW([dict(params=matrices, weight_decay=WEIGHT_DECAY), dict(params=others, weight_decay=0.0)],
                                  lr=SETTINGS["learning_rate"], betas=(0.9, 0.98))

    def compute_loss(step: int, number: int) -> torch.Tensor:
        generator = step_generator(SEED, step)
        picked = torch.randint(len(captions), (BATCH_SIZE,), generator=generator)
        views = torch.randint(features_NVD.shape[1], (BATCH_SIZE,), generator=generator)
        texts, fits_BB, equal_BB = draw_captions([captions[index] for index in picked], generator)
        kept = torch.rand(BATCH_SIZE, features_NVD.shape[2], generator=generator) >= FEATURE_DROPOUT
        image_BD = model.visual.head(features_NVD[picked, views] * kept / (1 - FEATURE_DROPOUT))
        text_BD = encode_short_texts(model, tokenize(tokenizer, texts)[0])
        return contrastive_loss(image_BD, text_BD, model.logit_scale, equal_BB, fits_BB & ~equal_BB)

    settings = LoopSettings(**SETTINGS, total_steps=total_steps, description="CLIP")
    return run_loop(settings, Trainee(weights, optimizer), compute_loss, folder, identity, after_step)


def encode_short_texts(model: CustomTextCLIP, ids_BT: torch.Tensor) -> torch.Tensor:
    """`model.encode_text` without the columns that are padding in every row, which halves the cost of training.

    The same numbers: attention is causal, so that nothing before `<eos>` sees padding.
    """
    longest = int((ids_BT != model.text.pad_id).sum(dim=1).max())
    mask_TT = model.text.attn_mask
    model.text.attn_mask = mask_TT[:longest, :longest]
    try:
        return model.encode_text(ids_BT[:, :longest])
    finally:
        model.text.attn_mask = mask_TT


def contrastive_loss(image_BD: torch.Tensor, text_BD: torch.Tensor, logit_scale: torch.Tensor, positive_BB: torch.Tensor,
                     ignored_BB: torch.Tensor) -> torch.Tensor:
    """CLIP's symmetric cross-entropy, where the target of an image is shared evenly by all its positive texts.

    Args:
        image_BD, text_BD: embeddings before normalisation.
        logit_scale: scalar, the logarithm of the inverse temperature; its effect is capped at 100 as in CLIP.
        positive_BB: bool, [image, text]; at least the diagonal.
        ignored_BB: bool, pairs that are neither positive nor negative (a vaguer caption that also fits the image).

    Returns:
        Scalar loss; lower is better.
    """
    import torch
    import torch.nn.functional as F

    scale = logit_scale.exp().clamp(max=100)
    logits_BB = scale * F.normalize(image_BD, dim=-1) @ F.normalize(text_BD, dim=-1).T
    logits_BB = logits_BB.masked_fill(ignored_BB, torch.finfo(logits_BB.dtype).min)
    targets_BB = positive_BB.float()
    return 0.5 * (F.cross_entropy(logits_BB, targets_BB / targets_BB.sum(1, keepdim=True))
                  + F.cross_entropy(logits_BB.T, targets_BB.T / targets_BB.T.sum(1, keepdim=True)))
