"""NVlabs' layout of Sana's weights: the same tensors as in diffusers', positional embedding included, and files that are read without running them."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch
from diffusers import SanaTransformer2DModel

from sana_bench.errors import ModelError
from sana_bench.native import check_positions, from_diffusers, positional_embedding, read_checkpoint, to_diffusers

SANA = dict(in_channels=4, out_channels=4, num_layers=2, num_attention_heads=2, attention_head_dim=8, num_cross_attention_heads=2, cross_attention_head_dim=8,
            cross_attention_dim=16, caption_channels=6, sample_size=64, patch_size=1, interpolation_scale=1.0)
FAMILIES = {"2K": SANA, "1.5": {**SANA, "interpolation_scale": None, "sample_size": 32, "qk_norm": "rms_norm_across_heads"},
            "Sprint": {**SANA, "interpolation_scale": None, "sample_size": 32, "qk_norm": "rms_norm_across_heads", "guidance_embeds": True}}


def numpy_embedding(positions: int, channels: int, scale: float) -> np.ndarray:
    """As NVlabs' code describes it: sines and cosines of the column in the first half of the channels, of the row in the second. (positions ** 2, channels)."""
    frequencies_Q = 10000.0 ** -(np.arange(channels // 4) / (channels / 4))
    places_N = np.arange(positions) / scale
    angles_NQ = np.outer(places_N, frequencies_Q)
    one_side_NH = np.concatenate([np.sin(angles_NQ), np.cos(angles_NQ)], axis=1)
    return np.stack([np.concatenate([one_side_NH[column], one_side_NH[row]]) for row in range(positions) for column in range(positions)])


def native_by_hand(blocks: int = 1, dim: int = 16) -> dict[str, torch.Tensor]:
    """A checkpoint's keys and shapes as train.py writes them for Sana 1.0 with that many blocks."""
    shapes = {"pos_embed": (1, 64 * 64, dim), "x_embedder.proj.weight": (dim, 4, 1, 1), "x_embedder.proj.bias": (dim,),
              "t_embedder.mlp.0.weight": (dim, 256), "t_embedder.mlp.0.bias": (dim,), "t_embedder.mlp.2.weight": (dim, dim), "t_embedder.mlp.2.bias": (dim,),
              "t_block.1.weight": (6 * dim, dim), "t_block.1.bias": (6 * dim,), "y_embedder.y_embedding": (300, 6),
              "y_embedder.y_proj.fc1.weight": (dim, 6), "y_embedder.y_proj.fc1.bias": (dim,), "y_embedder.y_proj.fc2.weight": (dim, dim),
              "y_embedder.y_proj.fc2.bias": (dim,), "attention_y_norm.weight": (dim,), "final_layer.scale_shift_table": (2, dim),
              "final_layer.linear.weight": (4, dim), "final_layer.linear.bias": (4,)}
    for block in range(blocks):
        shapes |= {f"blocks.{block}.{name}": shape for name, shape in {
            "scale_shift_table": (6, dim), "attn.qkv.weight": (3 * dim, dim), "attn.proj.weight": (dim, dim), "attn.proj.bias": (dim,),
            "cross_attn.q_linear.weight": (dim, dim), "cross_attn.q_linear.bias": (dim,), "cross_attn.kv_linear.weight": (2 * dim, dim),
            "cross_attn.kv_linear.bias": (2 * dim,), "cross_attn.proj.weight": (dim, dim), "cross_attn.proj.bias": (dim,),
            "mlp.inverted_conv.conv.weight": (5 * dim, dim, 1, 1), "mlp.inverted_conv.conv.bias": (5 * dim,),
            "mlp.depth_conv.conv.weight": (5 * dim, 1, 3, 3), "mlp.depth_conv.conv.bias": (5 * dim,),
            "mlp.point_conv.conv.weight": (dim, 5 * dim // 2, 1, 1)}.items()}
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    return tensors | {"pos_embed": torch.from_numpy(numpy_embedding(64, dim, 1.0)).float()[None]}


def prediction(model: SanaTransformer2DModel) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    guidance = {"guidance": torch.tensor([0.45])} if model.config.guidance_embeds else {}
    with torch.inference_mode():
        return model(torch.randn(1, 4, 6, 4, generator=generator), encoder_hidden_states=torch.randn(1, 5, 6, generator=generator),
                     timestep=torch.tensor([300.0]), **guidance)[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_there_and_back_is_the_same_model_to_the_bit(family, tmp_path):
    model = SanaTransformer2DModel(**FAMILIES[family])
    native = from_diffusers(model.state_dict(), model.config)
    torch.save({"state_dict": native}, tmp_path / "epoch_1_step_2.pth")
    stored = read_checkpoint(tmp_path / "epoch_1_step_2.pth")
    check_positions(stored, model.config)
    torch.manual_seed(99)
    again = SanaTransformer2DModel(**FAMILIES[family])
    assert not torch.equal(prediction(again), prediction(model))
    again.load_state_dict(to_diffusers(stored), strict=True)
    assert torch.equal(prediction(again), prediction(model))
    back = from_diffusers(again.state_dict(), again.config)
    assert back.keys() == native.keys() and all(torch.equal(back[name], native[name]) for name in native)


def test_a_checkpoint_written_by_hand_fills_diffusers_model_part_by_part():
    """The order in the stacks: queries before keys before values; keys before values."""
    native = native_by_hand()
    converted = to_diffusers(native)
    model = SanaTransformer2DModel(**{**SANA, "num_layers": 1})
    assert {name: tuple(each.shape) for name, each in converted.items()} == {name: tuple(each.shape) for name, each in model.state_dict().items()}
    block = "transformer_blocks.0"
    for number, part in enumerate("qkv"):
        assert torch.equal(converted[f"{block}.attn1.to_{part}.weight"], native["blocks.0.attn.qkv.weight"][16 * number:16 * (number + 1)])
    for number, part in enumerate("kv"):
        assert torch.equal(converted[f"{block}.attn2.to_{part}.weight"], native["blocks.0.cross_attn.kv_linear.weight"][16 * number:16 * (number + 1)])
        assert torch.equal(converted[f"{block}.attn2.to_{part}.bias"], native["blocks.0.cross_attn.kv_linear.bias"][16 * number:16 * (number + 1)])
    for ours, theirs in {"proj_out.bias": "final_layer.linear.bias", "scale_shift_table": "final_layer.scale_shift_table", "caption_norm.weight": "attention_y_norm.weight",
                         "time_embed.linear.weight": "t_block.1.weight", "caption_projection.linear_2.bias": "y_embedder.y_proj.fc2.bias",
                         f"{block}.ff.conv_point.weight": "blocks.0.mlp.point_conv.conv.weight", f"{block}.attn2.to_out.0.bias": "blocks.0.cross_attn.proj.bias"}.items():
        assert torch.equal(converted[ours], native[theirs])
    check_positions(native, model.config)


def test_the_positional_embedding_is_the_one_that_the_model_adds():
    model = SanaTransformer2DModel(**SANA)
    assert torch.equal(positional_embedding(model.config), model.patch_embed.pos_embed)
    np.testing.assert_allclose(positional_embedding(model.config)[0].numpy(), numpy_embedding(64, 16, 1.0), atol=1e-6)
    stretched = {**model.config, "sample_size": 128, "interpolation_scale": 2.0}  # of 4K
    np.testing.assert_allclose(positional_embedding(stretched)[0, ::37].numpy(), numpy_embedding(128, 16, 2.0)[::37], atol=1e-6)


def test_another_positional_embedding_than_the_bases_is_refused():
    config = SanaTransformer2DModel(**SANA).config
    without = {**config, "interpolation_scale": None}
    good = positional_embedding(config)
    check_positions({"pos_embed": good.bfloat16()}, config)  # as a checkpoint of a training in bfloat16 has it
    for lost in ({}, {"pos_embed": torch.zeros_like(good)}):
        with pytest.raises(ModelError, match="has no positional embedding, and the base has one"):
            check_positions(lost, config)
        check_positions(lost, without)
    with pytest.raises(ModelError, match="and the base has none"):
        check_positions({"pos_embed": good}, without)
    with pytest.raises(ModelError, match="of 32x32 positions .* 64x64"):
        check_positions({"pos_embed": positional_embedding({**config, "sample_size": 32})}, config)
    with pytest.raises(ModelError, match="pe_interpolation"):
        check_positions({"pos_embed": positional_embedding({**config, "interpolation_scale": 2.0})}, config)


def test_keys_that_are_not_sanas_are_named_together():
    native = native_by_hand() | {"blocks.0.attn.dwc.weight": torch.zeros(1), "head.extra": torch.zeros(1)}
    with pytest.raises(ModelError, match="blocks.0.attn.dwc.weight, head.extra"):
        to_diffusers(native)
    with pytest.raises(ModelError, match="blocks.0.attn.qkv.weight"):
        to_diffusers(native_by_hand() | {"blocks.0.attn.qkv.weight": torch.zeros(47, 16)})
    with pytest.raises(ModelError, match="to_v.weight is missing beside"):
        from_diffusers({"transformer_blocks.0.attn1.to_q.weight": torch.zeros(2, 2), "transformer_blocks.0.attn1.to_k.weight": torch.zeros(2, 2)},
                       {**SANA, "guidance_embeds": False})


def test_a_block_out_of_the_row_is_named_and_takes_no_memory():
    with pytest.raises(ModelError, match="blocks.1000000000.attn.qkv.weight"):
        to_diffusers(native_by_hand() | {"blocks.1000000000.attn.qkv.weight": torch.zeros(3, 1)})


def train_py_checkpoint(weights: dict[str, torch.Tensor]) -> dict:
    """All that train.py saves under DDP, with an optimizer and the random states that weights_only refuses by itself."""
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    random_state = {"torch": torch.get_rng_state(), "torch_cuda": [], "numpy": np.random.get_state(), "python": random.getstate(),
                    "generator": torch.Generator().get_state()}
    return {"state_dict": weights, "state_dict_ema": {name: value + 1 for name, value in weights.items()}, "optimizer": optimizer.state_dict(),
            "scheduler": schedule.state_dict(), "epoch": 3, "rng_state": random_state}


def test_a_whole_checkpoint_with_its_random_state_is_read(tmp_path):
    weights = native_by_hand()
    torch.save(train_py_checkpoint(weights), path := tmp_path / "latest.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)  # what diffusers' converter stumbles over
    plain, ema = read_checkpoint(path), read_checkpoint(path, ema=True)
    assert plain.keys() == weights.keys() and all(torch.equal(plain[name], weights[name]) for name in weights)
    assert all(torch.equal(ema[name], weights[name] + 1) for name in weights)


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_alone_are_read_too(tmp_path, zipped):
    torch.save(native_by_hand(), tmp_path / "bare.pth", _use_new_zipfile_serialization=zipped)
    assert "blocks.0.attn.qkv.weight" in read_checkpoint(tmp_path / "bare.pth")


class Hostile:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.witness}",)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
                                  lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))])
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, save):
    witness, path = tmp_path / "was-run", tmp_path / "hostile.pth"
    save({"state_dict": native_by_hand(), "rng_state": Hostile(witness)}, path)
    with pytest.raises(ModelError, match="hostile.pth"):
        read_checkpoint(path)
    assert not witness.exists()
    with path.open("rb") as file:
        assert b"system" in file.read()  # it does ask for it


def test_a_refusal_names_what_the_file_asks_for(tmp_path):
    torch.save({"state_dict": {}, "x": Hostile(tmp_path)}, tmp_path / "hostile.pth")
    with pytest.raises(ModelError, match="asks for posix.system"):
        read_checkpoint(tmp_path / "hostile.pth")


@pytest.mark.parametrize(("content", "message"), [
    ({"rng_state": {"torch": 1}}, 'has no "state_dict", and rng_state'), ([1, 2], "holds a list"), ({"state_dict": {}}, "no weights by name"),
    ({"state_dict": {"a": 1.0}}, "a in it is no tensor")])
def test_what_is_no_checkpoint_is_one_clear_error(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ModelError, match=message):
        read_checkpoint(tmp_path / "x.pth")


def test_damage_and_a_missing_moving_average_are_one_clear_error(tmp_path):
    torch.save({"state_dict": native_by_hand()}, path := tmp_path / "x.pth")
    with pytest.raises(ModelError, match="no moving average"):
        read_checkpoint(path, ema=True)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ModelError, match="x.pth"):
        read_checkpoint(path)
