"""The config files of a base model, without its weights: from its folder, from the hub, or as they come with sana-bench."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sana_bench.config import ModelSection
from sana_bench.errors import ModelError
from sana_bench.models import COMMIT, COMPONENTS, HUB_ID, base_folder

if TYPE_CHECKING:
    import torch

KNOWN = Path(__file__).parent / "known"


@dataclass(frozen=True)
class Architecture:
    """What a base is built of."""

    configs: dict[str, dict]
    """By component: `transformer`, `text_encoder`, `vae`."""
    origin: str
    """Where the configs are from, for people."""

    def build(self, component: str, dtype: torch.dtype) -> torch.nn.Module:
        """The component, of the real class, in that dtype; no weights are made where it is called inside `on_meta`.

        Raises:
            ModelError: the config does not make one.
        """
        from diffusers import AutoencoderDC, SanaTransformer2DModel
        from transformers import Gemma2Config, Gemma2Model

        config = self.configs[component]
        try:
            if component == "text_encoder":
                return Gemma2Model._from_config(Gemma2Config.from_dict(config), dtype=dtype).eval()
            return (SanaTransformer2DModel if component == "transformer" else AutoencoderDC).from_config(config).eval()
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ModelError(f"the config of the {component} ({self.origin}) makes no model: {error}") from error


def read_architecture(model: ModelSection) -> Architecture:
    """Raises ModelError: no such base, or configs that cannot be had."""
    if HUB_ID.fullmatch(model.base) and not Path(model.base).expanduser().is_dir():
        return _of_hub_id(model)
    folder = base_folder(model)
    return Architecture({name: _read(folder / name / "config.json") for name in COMPONENTS}, model.base)


def _of_hub_id(model: ModelSection) -> Architecture:
    """From the hub at the pinned commit; of the bases of the recipes as known here where there is no commit yet or no network."""
    known = {base: path for path in sorted(KNOWN.glob("sana_*.json")) for base in _read(path)["bases"]}
    try:
        return _fetched(model)
    except ModelError as error:
        if model.base not in known:
            raise ModelError(f"{error}. Known without a network: {', '.join(known)}") from error
    configs = {**_read(KNOWN / "common.json"), "transformer": _read(known[model.base])["transformer"]}
    return Architecture(configs, f"{model.base}, as known to sana-bench, since its own config files were not fetched")


def _fetched(model: ModelSection) -> Architecture:
    """Three files of a few kilobytes."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not COMMIT.fullmatch(model.revision):
        raise ModelError(f'model.revision of the hub base "{model.base}" must be a commit (40 hex digits), not "{model.revision}"')
    offline = os.environ.get("SANA_BENCH_OFFLINE") == "1"
    try:
        files = {name: Path(hf_hub_download(model.base, f"{name}/config.json", revision=model.revision, local_files_only=offline)) for name in COMPONENTS}
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(f"cannot fetch the config files of {model.base} at {model.revision[:12]}: {error}. Check the id, the network, the access token, "
                         f"and SANA_BENCH_OFFLINE") from error
    return Architecture({name: _read(path) for name, path in files.items()}, f"{model.base} at {model.revision[:12]}")


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
