"""Loading bases and adapters: the real pipeline, and a guard for every known trap."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from diffusers import SanaTransformer2DModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sana_bench.config import ModelSection, load_config
from sana_bench.data.buckets import bucket_of
from sana_bench.errors import ConfigError, ModelError, StoreError
from sana_bench.models import base_digest, base_folder, check_adapter, check_size, load_adapter, load_pipeline
from sana_bench.shipped import PACKAGE
from sana_bench.store import Store
from sana_bench.train import train
from tests.hub_server import hub_server
from tests.micro import build_base, write_run


@pytest.fixture(scope="module")
def trained(micro, tmp_path_factory):
    """A LoRA trained on the micro base: (config, path of its weights)."""
    config = load_config(str(write_run(tmp_path_factory.mktemp("trained"), **micro)))
    store = Store(config.run.store)
    checkpoint = train(config, store)
    return config, store.folder("checkpoint", checkpoint.digest) / checkpoint.weights_file


def test_each_part_loads_in_the_dtype_of_the_recipe(micro):
    section = ModelSection(base=str(micro["base"]), transformer_dtype="bfloat16")
    pipeline = load_pipeline(section, "cpu")
    assert pipeline.transformer.dtype == torch.bfloat16 and pipeline.vae.dtype == pipeline.text_encoder.dtype == torch.float32


def test_base_digest_follows_the_weights(micro, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(micro["base"], copy)
    assert base_digest(ModelSection(base=str(copy))) == base_digest(ModelSection(base=str(micro["base"])))
    weights = next((copy / "transformer").glob("*.safetensors"))
    changed = {name: value + 1 for name, value in load_file(weights).items()}
    save_file(changed, weights)
    assert base_digest(ModelSection(base=str(copy))) != base_digest(ModelSection(base=str(micro["base"])))


@pytest.mark.parametrize("section, message", [
    (ModelSection(base="no-such-thing"), "neither tiny-sana"),
    (ModelSection(base="owner/name"), "must be a commit"),
    (ModelSection(base="owner/name", revision="main"), "must be a commit"),
])
def test_a_base_that_cannot_be_pinned_is_refused(section, message):
    with pytest.raises(ModelError, match=message):
        base_folder(section)


@pytest.mark.parametrize(("revision", "head", "part"), [
    ("", "3b" * 20, "main is at this commit now: --set model.revision=" + "3b" * 20), ("v1", "3b" * 20, "v1 is at this commit now"),
    ("", "main; rm -rf /", "so that the run can be repeated\n")])
def test_the_commit_that_a_hub_base_is_at_can_be_pasted(tmp_path, revision, head, part):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SANA_BENCH_OFFLINE"))}
    with hub_server() as hub:
        hub.head = head
        done = subprocess.run([sys.executable, "-m", "sana_bench", "train", "--set", "model.base=owner/name", "--set", f'model.revision="{revision}"',
                               "--set", f"run.store={tmp_path}"], capture_output=True, text=True, check=False,
                              env={**clean, "PYTHONPATH": str(PACKAGE.parent), "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf")})
    assert done.returncode == 2 and part in done.stderr and "Traceback" not in done.stderr
    assert hub.requests == [("GET", f"/api/models/owner/name/revision/{revision or 'main'}")]


def test_a_folder_that_is_no_pipeline_is_one_clear_error(tmp_path):
    with pytest.raises(ModelError, match="model_index.json"):
        base_digest(ModelSection(base=str(tmp_path)))


@pytest.mark.parametrize(("content", "part"), [('{"_class_name": "StableDiffusionPipeline"}', "StableDiffusionPipeline"),
                                               ("{", "no readable"), ("[]", "no readable")])
def test_the_folder_of_another_pipeline_is_refused(micro, tmp_path, content, part):
    base = shutil.copytree(micro["base"], tmp_path / "base")
    (base / "model_index.json").write_text(content)
    with pytest.raises(ModelError, match=part):
        load_pipeline(ModelSection(base=str(base)), "cpu")


def test_damaged_latents_are_one_clear_error(micro, tmp_path):
    config = load_config(str(write_run(tmp_path, **micro)))
    store = Store(config.run.store)
    train(config, store)
    for path in tmp_path.glob("store/latents/*/*.safetensors"):
        path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(StoreError, match="Delete it to have it encoded again"):
        train(config.model_copy(update={"train": config.train.model_copy(update={"seed": 1})}), store)


def test_a_hub_base_offline_is_one_clear_error(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="cannot fetch"):
        base_folder(ModelSection(base="owner/name", revision="0" * 40))


def test_a_2k_transformer_without_positional_embedding_is_refused():
    for sample_size in (32, 64):  # a 2K checkpoint that was converted without saying so becomes a model of 1024 px
        with pytest.raises(ModelError, match="positional embedding"):
            check_size(SimpleNamespace(sample_size=sample_size, interpolation_scale=None, patch_size=1), 2048, 2048)
    check_size(SimpleNamespace(sample_size=64, interpolation_scale=1.0, patch_size=1), 2048, 2048)
    check_size(SimpleNamespace(sample_size=32, interpolation_scale=None, patch_size=1), 1024, 1024)


def test_a_positional_embedding_of_another_scale_than_2k_is_refused():
    for sample_size, scale in ((32, 1.0), (64, 2.0), (128, 1.0)):
        with pytest.raises(ModelError, match="scaled for another size"):
            check_size(SimpleNamespace(sample_size=sample_size, interpolation_scale=scale, patch_size=1), 2048, 2048)
    check_size(SimpleNamespace(sample_size=128, interpolation_scale=2.0, patch_size=1), 4096, 4096)  # the models of 4K
    check_size(SimpleNamespace(sample_size=32, interpolation_scale=1.0, patch_size=1), 1024, 1024)


@pytest.mark.parametrize("resolution", [512, 1024])
def test_every_size_of_a_smaller_resolution_needs_no_positional_embedding(resolution):
    """Its narrowest buckets are as long as 2K and have the area of that resolution."""
    sizes = {bucket_of((width, 1000), resolution, True) for width in range(200, 4200, 50)}
    assert len(sizes) > 20
    for width, height in sizes:
        check_size(SimpleNamespace(sample_size=32, interpolation_scale=None, patch_size=1), width, height)


@pytest.mark.parametrize("width", [1024, 1536, 2688, 4096])
def test_every_shape_of_2k_needs_it(width):
    with pytest.raises(ModelError, match="positional embedding"):
        check_size(SimpleNamespace(sample_size=32, interpolation_scale=None, patch_size=1), *bucket_of((width, 2048**2 // width), 2048, True))


def test_a_size_that_patches_do_not_fill_is_refused():
    config = SimpleNamespace(sample_size=64, interpolation_scale=1.0, patch_size=2)
    with pytest.raises(ModelError, match="multiples of 64"):
        check_size(config, 1056, 1024)
    check_size(config, 1088, 1024)


@pytest.mark.parametrize("section", [dict(base="owner/Sana_2Kpx_BF16_diffusers"), dict(variant="bf16")])
def test_a_bfloat16_checkpoint_is_not_run_in_float16(micro, section):
    with pytest.raises(ModelError, match="bfloat16"):
        load_pipeline(ModelSection(**{"base": str(micro["base"]), "transformer_dtype": "float16", **section}), "cpu")


@pytest.mark.parametrize("variant", ["", "half"])
def test_a_base_that_is_stored_in_bfloat16_is_not_run_in_float16_whatever_it_is_called(micro, tmp_path, variant):
    base = shutil.copytree(micro["base"], tmp_path / "base")
    section = ModelSection(base=str(base), transformer_dtype="float16", variant=variant)
    SanaTransformer2DModel.from_pretrained(base / "transformer").save_pretrained(base / "transformer", variant=variant or None)
    assert load_pipeline(section.model_copy(update={"variant": ""}), "cpu").transformer.dtype == torch.float16
    SanaTransformer2DModel.from_pretrained(base / "transformer", dtype=torch.bfloat16).save_pretrained(base / "transformer", variant=variant or None)
    with pytest.raises(ModelError, match="float16 overflows"):
        load_pipeline(section, "cpu")


def test_weights_that_are_no_safetensors_are_not_loaded(micro, tmp_path):
    base = shutil.copytree(micro["base"], tmp_path / "base")
    (weights,) = (base / "transformer").glob("*.safetensors")
    torch.save({}, base / "transformer" / "diffusion_pytorch_model.bin")
    weights.unlink()
    with pytest.raises(ModelError, match="does not load"):
        load_pipeline(ModelSection(base=str(base)), "cpu")


def test_damaged_weights_are_one_clear_error(micro, tmp_path):
    base = shutil.copytree(micro["base"], tmp_path / "base")
    (weights,) = (base / "text_encoder").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="does not load"):
        load_pipeline(ModelSection(base=str(base)), "cpu")


def test_a_card_beside_the_model_is_no_part_of_it_and_a_variant_is(micro, tmp_path):
    base = shutil.copytree(micro["base"], tmp_path / "base")
    before = base_digest(ModelSection(base=str(base)))
    (base / "card.json").write_text("{}")
    assert base_digest(ModelSection(base=str(base))) == before != base_digest(ModelSection(base=str(base), variant="fp16"))


def test_a_lora_whose_keys_diffusers_would_ignore_is_refused(micro, trained, tmp_path):
    _, weights = trained
    with safe_open(weights, framework="pt") as file:
        bare = {name.removeprefix("transformer."): file.get_tensor(name) for name in file.keys()}
    save_file(bare, tmp_path / "bare.safetensors")
    pipeline = load_pipeline(ModelSection(base=str(micro["base"])), "cpu")
    with pytest.raises(ModelError, match="not in diffusers' format"):
        load_adapter(pipeline, tmp_path / "bare.safetensors", base_digest(ModelSection(base=str(micro["base"]))))


def test_the_adapter_loads_with_the_library_alone_and_changes_the_prediction(micro, trained):
    from diffusers import SanaPipeline

    pipeline = SanaPipeline.from_pretrained(micro["base"])
    arguments = dict(hidden_states=torch.randn(1, 4, 2, 2), encoder_hidden_states=torch.randn(1, 8, 16), timestep=torch.tensor([500.0]))
    with torch.inference_mode():
        before = pipeline.transformer(**arguments)[0]
        pipeline.load_lora_weights(trained[1].parent, weight_name=trained[1].name)
        after = pipeline.transformer(**arguments)[0]
    assert (after - before).abs().max() > 1e-4


def test_rank_and_alpha_survive_the_file(micro, trained):
    """lora_alpha is 4 at rank 2; a file without metadata would load with alpha = rank and draw at half strength."""
    pipeline = load_pipeline(trained[0].model, "cpu")
    pipeline.load_lora_weights(trained[1].parent, weight_name=trained[1].name)
    adapter = pipeline.transformer.peft_config["default_0"]
    assert (adapter.r, adapter.lora_alpha) == (2, 4)
    assert all(value.dtype == torch.float32 for value in load_file(trained[1]).values())


def test_training_lowers_the_loss_on_what_it_sees(micro, trained, tmp_path):
    config = load_config(str(write_run(tmp_path, steps=60, **micro)))
    store = Store(config.run.store)
    losses = train(config, store).summary.losses
    assert sum(losses[-20:]) < sum(losses[:20])


def test_a_lora_of_another_base_is_refused_by_its_header(micro, trained):
    pipeline = load_pipeline(trained[0].model, "cpu")
    with pytest.raises(ModelError, match="another base"):
        check_adapter(pipeline.transformer, trained[1], "0123456789abcdef")


def test_a_lora_of_another_base_is_refused_by_its_shapes(trained, tmp_path):
    wider = load_pipeline(ModelSection(base=str(build_base(tmp_path / "wider", heads=4))), "cpu").transformer
    with safe_open(trained[1], framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}
    save_file(weights, tmp_path / "anonymous.safetensors")
    with pytest.raises(ModelError, match="another base: .* 16 channels, .* 32"):
        check_adapter(wider, tmp_path / "anonymous.safetensors", "any")
    renamed = {name.replace("transformer_blocks.0", "transformer_blocks.7"): value for name, value in weights.items()}
    save_file(renamed, tmp_path / "deeper.safetensors")
    with pytest.raises(ModelError, match="no layer transformer_blocks.7"):
        check_adapter(wider, tmp_path / "deeper.safetensors", "any")


@pytest.mark.parametrize("content, message", [(b"not safetensors", "not a readable safetensors"), (None, "holds no LoRA weights")])
def test_a_file_that_is_no_lora_is_refused(micro, tmp_path, content, message):
    path = tmp_path / "file.safetensors"
    if content is None:
        save_file({"weight": torch.zeros(1)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        check_adapter(torch.nn.Linear(1, 1), path, "any")


LAYER = "transformer.transformer_blocks.0.attn1.to_q"
PAIR = {f"{LAYER}.lora_A.weight": (4, 16), f"{LAYER}.lora_B.weight": (16, 4)}


@pytest.mark.parametrize(("shapes", "header", "message"), [
    ({f"{LAYER}.lora_A.weight": (16,)}, {}, r"lora_A.weight is \(16,\), and the weight of .*to_q \(16, 16\)"),
    ({"transformer.caption_norm.lora_A.weight": (4, 16)}, {}, "the weight of caption_norm"),
    ({f"{LAYER}.lora_A.weight": (4, 16)}, {}, "does not load as a LoRA"),
    (PAIR | {f"{LAYER}.lora_B.weight": (16, 8)}, {}, "does not load as a LoRA of diffusers: .*size mismatch"),
    (PAIR | {f"{LAYER}.alpha": ()}, {}, "does not load as a LoRA.*lora"),
    (PAIR, {"lora_adapter_metadata": "no json"}, "does not load as a LoRA"), (PAIR, {"lora_adapter_metadata": "[1]"}, "does not load as a LoRA")])
def test_a_broken_lora_is_one_clear_error(micro, tmp_path, shapes, header, message):
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "broken.safetensors", header)
    with pytest.raises(ModelError, match=message):
        load_adapter(load_pipeline(ModelSection(base=str(micro["base"])), "cpu"), tmp_path / "broken.safetensors", "any")


def test_an_external_lora_is_taken_in(micro, trained, tmp_path):
    recipe = write_run(tmp_path, **micro)
    config = load_config(str(recipe), ("train.trainer=external", f"train.weights={json.dumps(str(trained[1]))}"))
    checkpoint = train(config, Store(config.run.store))
    assert checkpoint.kind == "adapter" and checkpoint.summary is None
    with pytest.raises(ConfigError, match="train.weights"):
        train(load_config(str(recipe), ("train.trainer=external",)), Store(config.run.store))


def test_target_modules_that_match_nothing_name_the_nearest(micro, tmp_path):
    config = load_config(str(write_run(tmp_path, **micro)), ('train.target_modules=["to_qq"]',))
    with pytest.raises(ConfigError, match='Did you mean "to_q"'):
        train(config, Store(config.run.store))


@pytest.mark.parametrize(("targets", "number"), [('["attn1.to_q"]', 1), ('["to_q"]', 2), ('["to_out.0"]', 2)])
def test_target_modules_are_ends_of_names_by_whole_parts(micro, tmp_path, targets, number):
    config = load_config(str(write_run(tmp_path, **micro)), (f"train.target_modules={targets}",))
    store = Store(config.run.store)
    checkpoint = train(config, store)
    with safe_open(store.folder("checkpoint", checkpoint.digest) / checkpoint.weights_file, framework="pt") as file:
        assert sum(name.endswith("lora_A.weight") for name in file.keys()) == number  # one block: attn1 and attn2


def test_half_a_part_of_a_name_is_no_target(micro, tmp_path):
    config = load_config(str(write_run(tmp_path, **micro)), ('train.target_modules=["q"]',))
    with pytest.raises(ConfigError, match="no layer that can have an adapter ends in"):
        train(config, Store(config.run.store))


def test_one_process_trains_with_one_precision_after_another(micro, tmp_path):
    for precision in ("no", "bf16"):
        config = load_config(str(write_run(tmp_path, **micro)), (f"train.mixed_precision={precision}",))
        assert len(train(config, Store(config.run.store)).summary.losses) == 3
