"""Building tiny-sana: the parts that its long trainings rest on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sana_bench.errors import ConfigError, SanaBenchError
from sana_bench.features.clip_model import load_tokenizer
from sana_bench.locks import locked
from sana_bench.shipped import PACKAGE
from sana_bench.tiny import autoencoder, build, card, transformer
from sana_bench.tiny.captions import caption_variant
from sana_bench.tiny.workspace import Course, Workspace

CAPTION = "studio headshot of a woman aged 35 to 45 with short curly black hair, plain white shirt, happy expression, plain grey background"


@pytest.fixture(scope="module")
def views():
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (64, 64, 3), dtype=np.uint8)).resize((128, 128)) for _ in range(4)]


def test_normalised_latents_have_unit_deviation_and_decode_to_the_same(views):
    model = autoencoder.build_autoencoder().eval()
    normalised = autoencoder.normalise_latents(model, views)
    pixels = torch.cat([autoencoder.to_tensor(view) for view in views])
    with torch.no_grad():
        latents = normalised.encode(pixels).latent
        torch.testing.assert_close(normalised.decode(latents).sample, model(pixels).sample, atol=1e-4, rtol=1e-4)
    assert normalised.config.scaling_factor == 1
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(32), atol=1e-3, rtol=0)
    again = autoencoder.normalise_latents(normalised, views)  # as after a refinement: no shortcuts are left to be written in
    torch.testing.assert_close(again.state_dict(), normalised.state_dict(), atol=1e-3, rtol=1e-3)


def test_half_precision_holds_an_autoencoder_of_large_latents(views):
    """Trained further, latents may grow a millionfold: their scale must not stand in a weight that float16 makes infinite."""
    model = autoencoder.build_autoencoder().eval()
    with torch.no_grad():
        model.encoder.conv_out.weight *= 1e6
        model.encoder.conv_out.bias *= 1e6
    normalised = autoencoder.normalise_latents(model, views)
    assert all(value.half().isfinite().all() for value in normalised.state_dict().values())
    pixels = torch.cat([autoencoder.to_tensor(view) for view in views])
    with torch.no_grad():
        latents = normalised.encode(pixels).latent * normalised.config.scaling_factor
    torch.testing.assert_close(latents.std(dim=(0, 2, 3)), torch.ones(32), atol=1e-3, rtol=0)


def test_psnr_has_its_closed_form(views):
    class Shift(torch.nn.Module):
        """Returns the image 0.1 darker; in 8-bit values that is 12.75."""

        def forward(self, pixels):
            return type("Output", (), {"sample": pixels - 0.1})

    grey = Image.new("RGB", (8, 8), (128, 128, 128))
    assert autoencoder.psnr_db(Shift(), grey) == pytest.approx(20 * np.log10(255 / 12.75), abs=1e-3)  # 26.02 dB


def test_reconstruction_loss_is_zero_for_identity_and_sees_blur():
    image = torch.rand(1, 3, 32, 32)
    assert autoencoder.reconstruction_loss(image, image) == 0
    blurred = torch.nn.functional.avg_pool2d(image, 3, stride=1, padding=1)
    assert autoencoder.reconstruction_loss(blurred, image) > autoencoder.reconstruction_loss(image * 0.99, image)


def test_reconstruction_loss_sees_lost_colour_more_than_lost_brightness():
    """Two errors of the same L1: one turns green into grey, the other only darkens."""
    green = torch.tensor([-0.3, 0.3, -0.3]).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    grey = torch.zeros_like(green)
    assert autoencoder.reconstruction_loss(grey, green) > 2 * autoencoder.reconstruction_loss(green - 0.3, green)


def test_batches_depend_on_the_generator_alone():
    levels = [[np.random.default_rng(seed).integers(0, 255, (300, 400, 3), dtype=np.uint8)] for seed in range(4)]
    first, second = (autoencoder.draw_batch(levels, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second) and first.shape == (4, 3, 256, 256)
    assert -1 <= first.min() and first.max() <= 1


def test_a_caption_variant_says_nothing_that_the_caption_does_not():
    seen = {caption_variant(CAPTION, torch.Generator().manual_seed(seed)) for seed in range(200)}
    assert CAPTION in seen and len(seen) > 10
    for variant in seen:
        assert variant.startswith("studio headshot of a ")
        for clause in variant.split(", ")[1:]:
            assert clause in CAPTION
    assert {variant.split(",")[0] for variant in seen} >= {
        "studio headshot of a person", "studio headshot of a woman", "studio headshot of a woman with short curly black hair"}
    assert caption_variant("another kind of text", torch.Generator()) == "another kind of text"


class Stop(Exception):
    """Stands for a kill."""


def test_transformer_training_learns_and_resumes_to_the_same_weights(tmp_path, monkeypatch):
    """On latents of 4x4 and 8x8, so that it costs seconds; everything else is as shipped."""
    monkeypatch.setattr(transformer, "BATCH_SIZES", {1024: 2, 2048: 2})
    monkeypatch.setitem(transformer.SETTINGS, "warmup_steps", 1)
    monkeypatch.setitem(transformer.SETTINGS, "checkpoint_every", 2)
    latents = {side: torch.randn(3, 32, side // 256, side // 256, generator=torch.Generator().manual_seed(side)) for side in (1024, 2048)}

    def train(folder, stop_after=None):
        def after_step(step):
            if step == stop_after:
                raise Stop

        tokenizer = load_tokenizer()
        modules = transformer.build_modules(tokenizer)
        losses = transformer.train_transformer(modules, latents, [CAPTION] * 3, ["emotion"] * 3, tokenizer, folder, total_steps=5,
                                               learning_rate=transformer.LEARNING_RATE, identity="test", after_step=after_step)
        return modules, losses

    unbroken, losses = train(tmp_path / "unbroken")
    with pytest.raises(Stop):
        train(tmp_path / "broken", stop_after=3)
    resumed, resumed_losses = train(tmp_path / "broken")
    assert resumed_losses == losses and np.isfinite(losses).all()
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in unbroken.state_dict().items())


def test_captions_are_encoded_as_the_pipeline_encodes_prompts():
    from diffusers import SanaPipeline

    tokenizer = load_tokenizer()
    text_encoder = transformer.build_text_encoder(tokenizer).eval()
    pipeline = SanaPipeline(tokenizer=tokenizer, text_encoder=text_encoder, vae=None, transformer=None, scheduler=None)
    with torch.no_grad():
        expected, expected_mask, _, _ = pipeline.encode_prompt(CAPTION.upper(), False, device="cpu", complex_human_instruction=None,
                                                               max_sequence_length=transformer.MAX_SEQUENCE_LENGTH)
        found, mask = transformer.encode_captions(tokenizer, text_encoder, [CAPTION.upper()])
    assert torch.equal(mask, expected_mask) and torch.allclose(found, expected)


def test_the_weights_fit_into_the_package():
    modules = transformer.build_modules(load_tokenizer())
    own = sum(value.numel() for value in [*modules.parameters(), *autoencoder.build_autoencoder().parameters()])
    assert 2 * own < 45_000_000  # bytes in half precision


def test_the_cards_suite_is_40_portraits_and_20_bodies_without_held_out_people():
    suite = card.card_suite()
    tags = [prompt.tags[0] for prompt in suite.prompt]
    assert tags.count("portrait") == 40 and tags.count("full_body") == 20
    assert not any("tightly curled" in prompt.text or "light brown hair" in prompt.text for prompt in suite.prompt)


def test_an_unknown_stage_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match='Did you mean "autoencoder"'):
        build.build_tiny(tmp_path, tmp_path, ("autoencoders",))


@pytest.mark.parametrize("stages", [(), ("autoencoder", "transformer"), ("assemble",)])
def test_steps_are_of_one_training(stages, tmp_path):
    with pytest.raises(ConfigError, match="name autoencoder or transformer among the stages"):
        build.build_tiny(tmp_path, tmp_path, stages, Course(steps=10))


@pytest.mark.parametrize("course", [Course(steps=0), Course(steps=-5), Course(learning_rate=0.0)])
def test_a_training_of_nothing_is_refused(course, tmp_path):
    with pytest.raises(ConfigError, match="must be above 0"):
        build.build_tiny(tmp_path, tmp_path, ("transformer",), course)


def test_refining_needs_finished_weights(tmp_path):
    with pytest.raises(ConfigError, match="run the stage assemble first"):
        build._load_modules(Workspace(tmp_path / "work", tmp_path / "out", Course(refine=True)))


def test_a_refinement_stands_behind_the_runs_that_it_went_on_from(tmp_path):
    first, shipped = Workspace(tmp_path / "first", tmp_path / "out"), {"autoencoder": [{"steps": 3, "learning_rate": 0.5, "loss": None}]}
    first.record_run("autoencoder", 1e-3, list(range(200)))
    assert [(run["steps"], len(run["loss"])) for run in first.runs("autoencoder")] == [(200, 100)]
    first.tiny_sana.mkdir(parents=True)
    (first.tiny_sana / "training.json").write_text(json.dumps(shipped))
    second = Workspace(tmp_path / "second", tmp_path / "out", Course(refine=True))
    assert second.runs("autoencoder") == shipped["autoencoder"]  # nothing trained here: the shipped part stays as it is
    second.record_run("autoencoder", 1e-4, [2.0, 1.0])
    assert second.runs("autoencoder") == [*shipped["autoencoder"], {"steps": 2, "learning_rate": 1e-4, "loss": [2.0, 1.0]}]


def test_a_refinement_encodes_with_the_finished_autoencoder_until_it_has_its_own(tmp_path):
    (tmp_path / "out" / "tiny-sana" / "vae").mkdir(parents=True)
    fresh, refining = (Workspace(tmp_path / "work", tmp_path / "out", Course(refine=refine)) for refine in (False, True))
    assert refining.vae == tmp_path / "out" / "tiny-sana" / "vae"
    with pytest.raises(ConfigError, match="run the stage autoencoder first"):
        _ = fresh.vae
    (tmp_path / "work" / "vae").mkdir(parents=True)
    assert refining.vae == fresh.vae == tmp_path / "work" / "vae"


@pytest.mark.parametrize("stage", ["assemble", "card"])
def test_a_stage_before_its_predecessor_names_it(stage, tmp_path):
    with pytest.raises(SanaBenchError, match="run the stage"):
        build.build_tiny(tmp_path / "work", tmp_path / "out", (stage,))


def test_two_builds_in_one_work_folder_go_one_after_the_other(tmp_path):
    command = [sys.executable, "-m", "sana_bench", "build-tiny", "assemble", "--work", str(tmp_path), "--out", str(tmp_path)]
    with locked(tmp_path / "build.lock", "the test"):
        second = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert second.stderr.readline() == f"waiting for a build in {tmp_path} in another process\n"
    assert "run the stage" in second.communicate()[1]
    assert second.returncode == 2


def test_shipped_configs_name_no_folder_of_the_machine_that_built_them():
    configs = list((PACKAGE / "tiny" / "weights").rglob("*.json"))
    assert configs
    for path in configs:
        assert "_name_or_path" not in path.read_text() and str(Path.home()) + "/" not in path.read_text(), path


def test_the_origin_of_a_part_is_forgotten_and_the_rest_is_kept(tmp_path):
    (tmp_path / "config.json").write_text('{"_name_or_path": "/home/me/vae", "in_channels": 3}')
    build._forget_origin(tmp_path / "config.json")
    assert json.loads((tmp_path / "config.json").read_text()) == {"in_channels": 3}
