"""The small CLIP: loaded as open_clip loads it, better than chance on people it has never seen, and trained reproducibly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from sana_bench.assets import asset_path
from sana_bench.data.openpeople import caption_of, find_people, pictures_of, subject_of
from sana_bench.data.views import fit_view
from sana_bench.features import EXTRACTORS, View
from sana_bench.features import clip_model as clip
from sana_bench.features.clip import TinyClip
from sana_bench.features.clip_model import load_tokenizer
from sana_bench.tiny import clip_card, clip_training, clip_views

weights = pytest.mark.weights
MEGABYTE = 1_000_000
PHOTOGRAPHS = ("studio_portrait", "studio_posture", "amateur_selfie", "amateur_posture")
CAPTION = "studio portrait of a woman aged 35 to 45 with short curly black hair, plain white shirt, happy expression"
SELFIE = "casual selfie of a man aged 55 to 65 with grey hair, park"


@pytest.fixture(scope="module")
def extractor() -> TinyClip:
    return TinyClip("cpu")


@pytest.fixture(scope="module")
def reference_views() -> dict[str, View]:
    """Each kind of picture of P006, a reference person, with its caption; expressions and sides are left out."""
    person = next(path for path in find_people(asset_path("openpeople")) if path.name == "P006")
    subject = subject_of(json.loads((person / "metadata.json").read_text()))
    return {picture.kind: View(np.asarray(fit_view(picture.image, 512, 512, fit=picture.fit, focus_y=picture.focus_y)),
                               caption_of(picture, subject))
            for picture in pictures_of(person) if picture.kind in PHOTOGRAPHS}


def score(extractor: TinyClip, view: View, prompt: str | None = None) -> float:
    features = extractor.extract(view if prompt is None else View(view.pixels_HW3, prompt), {})
    return float(features["image"] @ features["text"])


@weights
def test_embeddings_equal_those_of_plain_open_clip(extractor, reference_views):
    """One state dict loaded strictly into CustomTextCLIP, open_clip's own image transform, its own forward pass."""
    from open_clip.model import CustomTextCLIP
    from open_clip.transform import image_transform
    from safetensors.torch import load_file

    model = CustomTextCLIP(**json.loads((clip.FOLDER / clip.CONFIG_FILE).read_text())).eval()
    backbone = list(torch.load(asset_path("efficientnet_lite0"), weights_only=True).values())
    names = [name for name in model.state_dict() if name.startswith("visual.trunk.")]
    state = {**dict(zip(names, backbone[:len(names)], strict=True)), **load_file(clip.FOLDER / clip.WEIGHTS_FILE)}
    model.load_state_dict(state, strict=True)
    transform = image_transform(224, is_train=False, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
                                interpolation="bicubic", resize_mode="squash")
    for view in reference_views.values():
        ids = load_tokenizer()(view.prompt.lower(), padding=False).input_ids + [load_tokenizer().eos_token_id]
        tokens = torch.tensor([ids + [0] * (64 - len(ids))])
        with torch.inference_mode():
            image, text, _ = model(transform(view.image)[None], tokens)
        features = extractor.extract(view, {})
        np.testing.assert_allclose(features["image"], image[0].numpy(), atol=2e-5)
        np.testing.assert_allclose(features["text"], text[0].numpy(), atol=2e-5)


@weights
def test_embeddings_are_unit_vectors_of_the_same_size(extractor, reference_views):
    features = extractor.extract(reference_views["studio_portrait"], {})
    assert features["image"].shape == features["text"].shape == (128,)
    assert features["image"].dtype == features["text"].dtype == np.float32
    assert np.linalg.norm(features["image"]) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(features["text"]) == pytest.approx(1, abs=1e-5)


@weights
def test_a_reference_photograph_fits_its_own_caption_best(extractor, reference_views):
    for kind, view in reference_views.items():
        scores = {other: score(extractor, view, reference_views[other].prompt) for other in reference_views}
        assert max(scores, key=scores.get) == kind, scores


@weights
def test_short_prompts_are_told_apart(extractor, reference_views):
    portrait, body = reference_views["studio_portrait"], reference_views["amateur_posture"]
    prompts = "studio portrait of a person, plain grey background", "casual full-body photo of a person, park"
    assert score(extractor, portrait, prompts[0]) > score(extractor, portrait, prompts[1]) + 0.2
    assert score(extractor, body, prompts[1]) > score(extractor, body, prompts[0]) + 0.2


@weights
def test_a_spoiled_image_fits_its_caption_less(extractor, reference_views):
    draw = np.random.default_rng(0)
    for view in reference_views.values():
        noise = draw.integers(0, 256, view.pixels_HW3.shape, dtype=np.uint8)
        mostly_noise = np.asarray(Image.blend(view.image, Image.fromarray(noise), 0.7))
        assert score(extractor, View(mostly_noise, view.prompt)) < score(extractor, view) - 0.1


@weights
def test_the_same_pair_has_the_same_features_in_any_order(extractor, reference_views):
    first, second = reference_views["studio_portrait"], reference_views["amateur_selfie"]
    alone = extractor.extract(first, {})
    extractor.extract(second, {})
    for again in (extractor.extract(first, {}), TinyClip("cpu").extract(first, {})):
        for name, values in alone.items():
            np.testing.assert_array_equal(again[name], values)


@weights
def test_upper_case_does_not_matter(extractor, reference_views):
    view = reference_views["studio_portrait"]
    assert score(extractor, view, view.prompt.upper()) == score(extractor, view)


@weights
@pytest.mark.parametrize(("num_words", "truncated"), [(1, False), (62, False), (63, True), (300, True)])
def test_a_prompt_beyond_the_context_is_flagged(extractor, reference_views, num_words, truncated):
    """62 words of one token each fill 64 places with `<bos>` and `<eos>`."""
    view = View(reference_views["studio_portrait"].pixels_HW3, " ".join(["a"] * num_words))
    assert extractor.extract(view, {})["truncated"].tolist() == [truncated]


@weights
def test_what_is_cut_off_does_not_count(extractor, reference_views):
    pixels = reference_views["studio_portrait"].pixels_HW3
    short, long = (extractor.extract(View(pixels, " ".join(["a"] * number)), {})["text"] for number in (62, 90))
    np.testing.assert_array_equal(short, long)


def test_our_weights_are_small_and_hold_no_backbone():
    from safetensors import safe_open

    path = clip.FOLDER / clip.WEIGHTS_FILE
    assert path.stat().st_size <= 10 * MEGABYTE
    with safe_open(path, framework="pt") as file:
        assert not [name for name in file.keys() if name.startswith(clip.BACKBONE)]
        assert {str(file.get_tensor(name).dtype) for name in file.keys()} == {"torch.float16"}


def test_the_digest_follows_weights_config_and_tokenizer():
    entry = EXTRACTORS.get("clip_tiny")
    assert [path.name for path in entry.local_weights] == ["model.safetensors", "config.json", "tokenizer.json"]
    assert all(path.is_file() for path in entry.local_weights)


@weights
def test_the_card_has_the_numbers_that_are_measured_again(tmp_path):
    from sana_bench.data.manifest import load_manifest
    from sana_bench.store import Store

    card = json.loads((clip.FOLDER / "card.json").read_text())
    measured = clip_card.measure(clip.load_clip(), load_tokenizer(), load_manifest("openpeople:reference", Store(tmp_path)))
    stated = card["reference_people"]
    assert measured["num_pictures"] == stated["num_pictures"] == 84
    assert measured["attributes"].keys() == stated["attributes"].keys()
    for name, values in measured["attributes"].items():
        assert values["accuracy"] == pytest.approx(stated["attributes"][name]["accuracy"], abs=0.03), name
    for name, values in measured["retrieval"].items():
        assert values["top1"] == pytest.approx(stated["retrieval"][name]["top1"], abs=0.03), name
        assert values["top1"] > 5 * values["top1_chance"]
    assert measured["attributes"]["framing"]["accuracy"] > 0.9
    assert measured["attributes"]["side"]["accuracy"] > 0.8
    assert measured["matching"]["own_above_other"] > 0.9


@weights
def test_images_that_are_their_captions_match_perfectly_and_swapped_ones_do_not():
    model, tokenizer = clip.load_clip(), load_tokenizer()
    captions = ["studio portrait of a person", "full-body studio photo of a person"]
    images_ND = clip_card.embed_texts(model, tokenizer, captions)
    found = clip_card.measure_matches(model, tokenizer, images_ND, captions)
    assert found["matching"]["own_above_other"] == found["attributes"]["framing"]["accuracy"] == 1
    assert found["attributes"].keys() == {"framing", "framing_head_or_body"}  # no caption says a side, a setting, ...
    swapped = clip_card.measure_matches(model, tokenizer, images_ND[::-1], captions)
    assert swapped["matching"]["own_above_other"] == swapped["attributes"]["framing"]["accuracy"] == 0


@weights
def test_training_encodes_texts_as_scoring_does(extractor):
    ids, _ = clip.tokenize(extractor.tokenizer, [CAPTION, SELFIE, ""])
    with torch.inference_mode():
        torch.testing.assert_close(clip_training.encode_short_texts(extractor.model, ids), extractor.model.encode_text(ids))
        assert extractor.model.text.attn_mask.shape == (64, 64)


def test_loss_without_equal_captions_is_the_loss_of_clip():
    from open_clip.loss import ClipLoss

    image, text, scale = torch.randn(6, 8), torch.randn(6, 8), torch.tensor(2.0)
    expected = ClipLoss()(F.normalize(image, dim=-1), F.normalize(text, dim=-1), scale.exp())
    loss = clip_training.contrastive_loss(image, text, scale, torch.eye(6, dtype=torch.bool), torch.zeros(6, 6, dtype=torch.bool))
    torch.testing.assert_close(loss, expected)


def test_two_equal_captions_share_the_target():
    """Two images with one text between them: nothing to tell apart, so the least loss is log 2, and it is reached."""
    same, nothing = torch.ones(2, 2, dtype=torch.bool), torch.zeros(2, 2, dtype=torch.bool)
    vectors = torch.randn(1, 8).expand(2, 8)
    loss = clip_training.contrastive_loss(vectors, vectors, torch.tensor(3.0), same, nothing)
    assert loss.item() == pytest.approx(np.log(2), abs=1e-6)


def test_ignored_pairs_do_not_count_and_wrong_order_is_worse():
    image, scale = torch.eye(4), torch.tensor(2.0)
    own, nothing = torch.eye(4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
    right = clip_training.contrastive_loss(image, image, scale, own, nothing)
    assert clip_training.contrastive_loss(image, image.flip(0), scale, own, nothing) > right + 1
    assert clip_training.contrastive_loss(image, image, scale, own, ~own).item() == pytest.approx(0, abs=1e-6)


def test_changed_captions_stay_true_of_their_image():
    captions = [CAPTION, CAPTION.replace("happy expression", "side view"), SELFIE]
    for seed in range(50):
        texts, fits_BB, equal_BB = clip_views.draw_captions(captions, torch.Generator().manual_seed(seed))
        assert fits_BB.diagonal().all() and equal_BB.diagonal().all()
        assert not fits_BB[2, [index for index, text in enumerate(texts) if "studio" in text]].any()
        assert not any("side view" in text and "happy" in text for text in texts)
        assert (fits_BB | ~equal_BB | equal_BB.T).all()


def test_words_that_the_image_does_not_have_do_not_fit():
    _, fits_BB, _ = clip_views.draw_captions([CAPTION, CAPTION], torch.Generator().manual_seed(1))
    assert fits_BB.all()
    happy = clip_views.words_of("photo of a person, happy expression")
    assert not happy <= clip_views.words_of("photo of a person, sad expression")
    assert clip_views.words_of("a woman") <= clip_views.words_of("photo of a woman")


def test_changed_views_are_repeatable_and_differ():
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (288, 288, 3), dtype=np.uint8))
    one, same, other = (np.asarray(clip_views.change_view(image, np.random.default_rng([3, view])).resize((64, 64)))
                        for view in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one.astype(int) - other).mean() > 1


@weights
def test_training_killed_and_resumed_gives_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clip_training, "BATCH_SIZE", 6)
    monkeypatch.setitem(clip_training.SETTINGS, "checkpoint_every", 2)
    tokenizer, captions = load_tokenizer(), [CAPTION, CAPTION.replace("woman", "man"), "casual selfie of a man, park"]
    features = torch.rand(3, 2, 1280)

    def train(folder: Path, after_step=lambda step: None) -> tuple[list[float], dict[str, torch.Tensor]]:
        model = clip.build_clip(clip.clip_config(tokenizer))
        losses = clip_training.fit_clip(model, tokenizer, features, captions, folder, total_steps=5, identity="test",
                               after_step=after_step)
        return losses, model.state_dict()

    def stop_at_3(step: int) -> None:
        if step == 3:
            raise KeyboardInterrupt

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "broken", stop_at_3)
    resumed = train(tmp_path / "broken")
    assert resumed[0] == whole[0]
    assert all(torch.equal(resumed[1][name], value) for name, value in whole[1].items())


@weights
def test_training_lowers_the_loss_and_leaves_the_backbone_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clip_training, "BATCH_SIZE", 8)
    monkeypatch.setitem(clip_training.SETTINGS, "warmup_steps", 1)
    tokenizer = load_tokenizer()
    model = clip.build_clip(clip.clip_config(tokenizer))
    before = {name: value.clone() for name, value in model.visual.trunk.state_dict().items()}
    captions = [CAPTION, SELFIE]
    losses = clip_training.fit_clip(model, tokenizer, torch.rand(2, 4, 1280), captions, tmp_path, total_steps=25, identity="test")
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])
    assert all(torch.equal(model.visual.trunk.state_dict()[name], value) for name, value in before.items())
