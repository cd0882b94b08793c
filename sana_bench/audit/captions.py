"""How long captions are: in words, and in tokens of the base's own tokenizer where that is on this machine."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sana_bench.config import ModelSection
from sana_bench.models import HUB_ID, TINY_SANA, base_folder

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+(?:[-'’]\w+)*")
"""A word, or a character of a script that puts no spaces between words."""


@dataclass(frozen=True)
class TokenCounter:
    """Counts tokens as the pipeline does that draws with the base."""

    count: Callable[[str], int]
    """Tokens of a caption, the one that every prompt begins with counted in, uncut."""
    note: str
    """Whose tokenizer it is."""


def num_words(caption: str) -> int:
    """Words of a caption; each character of Chinese, Japanese and Korean is one."""
    return len(WORD.findall(caption))


def normalised(caption: str) -> str:
    """The same for captions that differ in case and spaces only."""
    return " ".join(caption.casefold().split())


def token_counter(model: ModelSection) -> TokenCounter:
    """The base's tokenizer, as far as its files are here: nothing is fetched for it. Else tiny-sana's, and the note says so."""
    own = _tokenizer_folder(model)
    counter = _load(own) if own else None
    if counter:
        return TokenCounter(counter, f"tokens are those of {model.base}")
    return TokenCounter(_load(base_folder(ModelSection()) / "tokenizer"),
                        f"tokens are those of {TINY_SANA}, another tokenizer than that of {model.base}, which is not on this machine: counts will differ")


def _tokenizer_folder(model: ModelSection) -> Path | None:
    """Of the base; of a hub id only where it was fetched before."""
    from huggingface_hub import try_to_load_from_cache

    folder = Path(model.base).expanduser()
    if model.base == TINY_SANA or folder.is_dir():
        return base_folder(model) / "tokenizer"
    if not HUB_ID.fullmatch(model.base):
        return None
    cached = try_to_load_from_cache(model.base, "tokenizer/tokenizer_config.json", revision=model.revision or None)
    return Path(cached).parent if isinstance(cached, str) else None


def _load(folder: Path) -> Callable[[str], int] | None:
    """None where the folder has no tokenizer that can be read."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError):
        return None
    # As SanaPipeline prepares prompts: lower case, no outer spaces, with the token that begins a text.
    return lambda caption: len(tokenizer(caption.lower().strip(), verbose=False).input_ids)
