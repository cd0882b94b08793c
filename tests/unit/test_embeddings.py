"""Cached text embeddings: those that sampling hands to the transformer, under names that change with what decides them and with nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sana_bench.config import GenerateSection
from sana_bench.data.embeddings import EmbeddingCache
from sana_bench.errors import StoreError
from sana_bench.generation.sampling import draw
from sana_bench.store import Store

TEXTS = ("Studio Portrait of a WOMAN, Smiling ", "a man", "", "full-body photo of one person " * 20)
MICRO = GenerateSection(height=64, width=64, num_inference_steps=1, guidance_scale=2.0, max_sequence_length=16)

OTHER_VALUES = {
    "height": 96, "width": 96, "num_images_per_prompt": 2, "seed": 1, "num_inference_steps": 3, "guidance_scale": 1.0, "negative_prompt": "ugly",
    "scheduler": "flow_euler", "flow_shift": 2.0, "max_sequence_length": 17, "complex_human_instruction": False, "use_resolution_binning": True,
    "batch_size": 2, "vae_tile_size": 64, "vae_tile_stride": 32}
DECIDE = {"max_sequence_length", "complex_human_instruction"}


@pytest.fixture(scope="module")
def pipeline(micro):
    from diffusers import SanaPipeline

    made = SanaPipeline.from_pretrained(micro["base"])
    made.set_progress_bar_config(disable=True)
    return made


def cache_of(folder, settings: GenerateSection = MICRO, encoder_identity: str = "encoder") -> EmbeddingCache:
    return EmbeddingCache(settings, Store(folder / "store"), encoder_identity)


@pytest.mark.parametrize("field", GenerateSection.model_fields)
def test_their_name_changes_with_the_settings_that_decide_them_and_with_no_other(tmp_path, field):
    changed = MICRO.model_copy(update={field: OTHER_VALUES[field]})
    assert getattr(changed, field) != getattr(MICRO, field)
    assert (cache_of(tmp_path, changed).path("a man") != cache_of(tmp_path).path("a man")) == (field in DECIDE)


def test_their_name_changes_with_text_and_encoder(tmp_path):
    cache = cache_of(tmp_path)
    assert len({cache.path("a man"), cache.path("a woman"), cache.path(""), cache_of(tmp_path, encoder_identity="other").path("a man")}) == 4


def test_each_text_is_missing_once(tmp_path, pipeline):
    cache = cache_of(tmp_path)
    assert cache.missing(["b", "a", "b"]) == ["b", "a"]
    cache.encode(["b"], pipeline)
    assert cache.missing(["b", "a", "b"]) == ["a"]


def what_sampling_gives(pipeline, settings: GenerateSection, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings and mask that SanaPipeline hands to the transformer, of the negative prompt first: (2, T, D) and (2, T)."""
    seen = {}
    hook = pipeline.transformer.register_forward_pre_hook(lambda module, arguments, named: seen.update(named), with_kwargs=True)
    try:
        draw(pipeline, settings, [text], [0])
    finally:
        hook.remove()
    return seen["encoder_hidden_states"], seen["encoder_attention_mask"]


@pytest.mark.parametrize("instruction", [True, False])
@pytest.mark.parametrize("text", [text for text in TEXTS if text])
def test_training_sees_what_sampling_sees(tmp_path, pipeline, text, instruction):
    """In lower case, with the instruction as a list, and for dropped captions what stands in the place of the negative prompt."""
    settings = MICRO.model_copy(update={"complex_human_instruction": instruction})
    cache = cache_of(tmp_path, settings)
    cache.encode([text, ""], pipeline)
    embeds, masks = what_sampling_gives(pipeline, settings, text)
    for cached, embed, mask in zip(map(cache.read, ("", text)), embeds, masks, strict=True):
        assert torch.equal(cached[1], mask)
        torch.testing.assert_close(cached[0][mask > 0], embed[mask > 0], rtol=0, atol=1e-6)


def test_the_instruction_moves_what_is_seen_and_case_does_not(tmp_path, pipeline):
    plain, told = (cache_of(tmp_path, MICRO.model_copy(update={"complex_human_instruction": each})) for each in (False, True))
    for cache in (plain, told):
        cache.encode(["A Man", "a man", ""], pipeline)
    assert all(torch.equal(*pair) for pair in zip(plain.read("A Man"), plain.read("a man"), strict=True))
    assert not torch.allclose(plain.read("a man")[0], told.read("a man")[0], atol=1e-3)
    assert torch.equal(plain.read("")[0], told.read("")[0])


@pytest.mark.parametrize("text", TEXTS)
def test_zeros_behind_a_text_give_the_transformer_what_the_pipelines_own_embeddings_give(tmp_path, pipeline, text):
    cache = cache_of(tmp_path, MICRO.model_copy(update={"complex_human_instruction": False}))
    cache.encode([text], pipeline)
    own, mask, _, _ = pipeline.encode_prompt(text, do_classifier_free_guidance=False, max_sequence_length=16, complex_human_instruction=None)
    embeds, cached_mask = cache.read(text)
    assert embeds.shape == own[0].shape and torch.equal(cached_mask, mask[0])
    latents = torch.randn(1, 4, 2, 2)
    with torch.inference_mode():
        outputs = [pipeline.transformer(latents, encoder_hidden_states=each, encoder_attention_mask=mask, timestep=torch.tensor([500.0]))[0]
                   for each in (own, embeds[None])]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-6)


def test_what_is_kept_ends_with_the_text(tmp_path, pipeline):
    """2.2 MB each in float32 for Gemma-2-2b at 300 tokens, most of them none."""
    cache = cache_of(tmp_path, MICRO.model_copy(update={"complex_human_instruction": False}))
    cache.encode(["a man"], pipeline)
    kept = load_file(cache.path("a man"))
    embeds, mask = cache.read("a man")
    assert len(kept["mask"]) == mask.sum() == len(kept["embeds"]) < len(embeds) == 16
    assert np.count_nonzero(embeds[len(kept["mask"]):]) == 0


@pytest.mark.parametrize("how", ["missing", "cut", "other tensors"])
def test_a_damaged_file_is_one_clear_error(tmp_path, pipeline, how):
    cache = cache_of(tmp_path)
    cache.encode(["a man"], pipeline)
    path = cache.path("a man")
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-4])
    else:
        save_file({"embeds": torch.zeros(1)}, path)
    with pytest.raises(StoreError, match="missing or damaged .* Delete it to have it encoded again") as raised:
        cache.read("a man")
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
