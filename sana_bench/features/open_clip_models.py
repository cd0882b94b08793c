"""Any CLIP that open_clip can build, as an extractor: the released ones by name, your own where the recipe declares them.

`clip_<architecture>_<tag>` is one of `open_clip.list_pretrained()`, in lower case with underscores: `clip_vit_b_32_laion2b_s34b_b79k`.
`clip_<name>` is the [[score.clip_model]] of that name. With `_depicts` at the end it reads "A photo depicts " before every prompt.
Weights that are no pinned asset count by their content, so that a tag whose weights move on the hub is another extractor.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sana_bench.errors import ConfigError
from sana_bench.features import EXTRACTORS, ExtractorEntry, Features, View
from sana_bench.features.clip_network import ClipInput, ClipNetwork
from sana_bench.features.clip_weights import FOLDER_SCHEMAS, ClipModel, files_of, load_model, load_tokenizer
from sana_bench.registry import near_names

if TYPE_CHECKING:
    import torch

    from sana_bench.config import ClipModelSection

FAMILY, DEPICTS = "clip", "_depicts"
PREFIX_OF_HESSEL = "A photo depicts "
PINNED = {each.extractor: each for each in (
    ClipModel(extractor="clip_vit_l_14_openai", model="ViT-L-14", tag="openai", asset="clip_vit_l_14_openai"),
    ClipModel(extractor="pickscore_v1", model="ViT-H-14", asset="pickscore_v1"),
    ClipModel(extractor="hps_v2_1", model="ViT-H-14", asset="hps_v2_1", resize_mode="longest"),
)}
TOKENIZING = threading.Lock()
"""Counting tokens switches cutting off and on again in some tokenizers, and all threads share them."""
DECLARED: dict[str, ClipModel] = {}
"""By extractor: those of the recipe in use."""


class OpenClip(ClipNetwork):
    """A CLIP as open_clip builds it. Images are resized as the model's makers did; prompts beyond the context are cut, and their end token is kept.

    Features: those of ClipNetwork, the text with the prefix, and
        scale: (1,) float32, what the model multiplies cosines with (its logit scale).
    """

    def __init__(self, spec: ClipModel, device: str):
        from open_clip.transform import PreprocessCfg, image_transform_v2

        super().__init__(load_model(spec), device)
        self.prefix = spec.prefix
        self.preprocess = image_transform_v2(PreprocessCfg(**self.model.visual.preprocess_cfg), is_train=False)
        self.tokenizer = load_tokenizer(spec.model)
        self.scale = float(self.model.logit_scale.detach().exp())

    def pixels(self, view: View) -> np.ndarray:
        return self.picture(view.image)[None].numpy()

    def picture(self, image: Image.Image) -> torch.Tensor:
        """(3, S, S) float32, as the model's makers resize and normalise."""
        return self.preprocess(image)

    def tokens(self, prompt: str) -> tuple[np.ndarray, bool]:
        text = self.prefix + prompt
        with TOKENIZING:
            return self.tokenizer([text]).numpy(), num_tokens(self.tokenizer, text) > self.tokenizer.context_length

    def forward(self, inputs: Sequence[ClipInput]) -> list[Features]:
        return [{**found, "scale": np.array([self.scale], np.float32)} for found in super().forward(inputs)]


def num_tokens(tokenizer, text: str) -> int:
    """How many tokens a text has with its start and end tokens, uncut. Each of open_clip's three kinds of tokenizer counts in its own way."""
    from open_clip.tokenizer import HFTokenizer, SigLipTokenizer, basic_clean, canonicalize_text

    if isinstance(tokenizer, HFTokenizer):
        ends = 3 if tokenizer.tokenizer_mode == "clips" else 0  # that mode adds its own start, end and class tokens
        return len(tokenizer.tokenizer(tokenizer.clean_fn(text), add_special_tokens=not ends).input_ids) + ends
    if isinstance(tokenizer, SigLipTokenizer):
        return len(tokenizer.tokenizer(canonicalize_text(basic_clean(text))).input_ids)
    return len(tokenizer.encode(text)) + 2


@functools.cache
def released() -> Mapping[str, ClipModel]:
    """Every pair of architecture and tag that open_clip knows, by the extractor's name."""
    import open_clip

    names = {f"{FAMILY}_" + re.sub(r"[^a-z0-9]+", "_", f"{model} {tag}".lower()): (model, tag) for model, tag in open_clip.list_pretrained()}
    return {name: ClipModel(extractor=name, model=model, tag=tag) for name, (model, tag) in names.items()}


def declare(sections: Iterable[ClipModelSection]) -> None:
    """From now on the models of this recipe are extractors, and those of an earlier one are not.

    Raises:
        ConfigError: a name that is declared twice or taken, or weights that are neither a tag nor a file.
    """
    specs = {}
    for section in sections:
        name = f"{FAMILY}_{section.name}"
        if name in specs or name in EXTRACTORS.names() or name in released() or name.endswith(DEPICTS):
            raise ConfigError(f'score.clip_model: the name "{section.name}" is taken; choose another')
        specs[name] = _spec_of(name, section)
    DECLARED.clear()
    DECLARED.update(specs)


def _spec_of(name: str, section: ClipModelSection) -> ClipModel:
    import open_clip

    spec = ClipModel(extractor=name, model=section.model, sha256=section.sha256, prefix=section.prefix)
    if section.model.startswith(FOLDER_SCHEMAS):
        if section.pretrained:
            raise ConfigError(f"score.clip_model {section.name}: {section.model} has its own weights; leave pretrained empty")
        return spec
    if section.model not in open_clip.list_models():
        raise ConfigError(f'score.clip_model {section.name}: open_clip has no model "{section.model}".{near_names(section.model, open_clip.list_models())}')
    tags = open_clip.list_pretrained_tags_by_model(section.model)
    if section.pretrained in tags:
        return replace(spec, tag=section.pretrained)
    # Whether a file is there is asked when it is read: results are compared where the weights are not.
    if not Path(section.pretrained).suffix:
        raise ConfigError(f'score.clip_model {section.name}: pretrained "{section.pretrained}" is neither a file nor a tag of {section.model}'
                          f' ({", ".join(tags) or "it has none"})')
    return replace(spec, file=section.pretrained)


def _find(extractor: str) -> ClipModel:
    known = DECLARED.get(extractor) or PINNED.get(extractor) or released().get(extractor)
    if known is None:
        raise ConfigError(f'unknown extractor "{extractor}".{near_names(extractor, [*DECLARED, *released()])} Known: what '
                          f"`open_clip.list_pretrained()` has, as {FAMILY}_<architecture>_<tag>, and the models that [[score.clip_model]] declares")
    return known


def _of_family(of: str) -> ExtractorEntry:
    name = f"{FAMILY}_{of}"
    if name.endswith(DEPICTS):
        return entry_of(replace(_find(name.removesuffix(DEPICTS)), extractor=name, prefix=PREFIX_OF_HESSEL))
    return entry_of(_find(name))


def entry_of(spec: ClipModel) -> ExtractorEntry:
    return ExtractorEntry(
        name=spec.extractor, version=1, needs=(), assets=(spec.asset,) if spec.asset else (), local_weights=(), kept=True, pooled="image", text="text",
        made_with=(spec.model if not spec.model.startswith(FOLDER_SCHEMAS) else "", spec.tag, spec.prefix, spec.resize_mode),
        large_files=None if spec.asset else partial(files_of, spec), make=partial(OpenClip, spec))


for _spec in PINNED.values():
    EXTRACTORS.register(_spec.extractor, entry_of(_spec))
EXTRACTORS.add_family(FAMILY, _of_family, "any CLIP that open_clip can build")
