"""Any CLIP as an extractor: features are open_clip's, values torchmetrics', weights count by their content, and prompts are cut with their end token kept."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_bench.cards import card_of
from sana_bench.config import ClipModelSection, RunConfig
from sana_bench.errors import AssetError, ConfigError
from sana_bench.features import EXTRACTORS, View
from sana_bench.features.open_clip_models import DECLARED, PINNED, OpenClip, declare, entry_of, num_tokens
from sana_bench.metrics import METRICS, MetricContext, ScoredSample
from sana_bench.prompts import Prompt, Target
from sana_bench.score import chosen_metrics
from sana_bench.store import sha256_file
from tests.pretrained import CONFIG, CONTEXT, SIDE, WIDTH, put_asset, save_model, small_model
from tests.unit import test_assets

PROMPT, LONG = "a woman with grey hair waves with both hands", "a man and a red car " * 20
EMPTY = MetricContext(reference=[], target=Target())


@pytest.fixture(autouse=True)
def nothing_declared() -> Iterator[None]:
    yield
    DECLARED.clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model(tmp_path / "mine")


@pytest.fixture
def small_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same architecture under a name that open_clip knows."""
    import open_clip.factory

    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small-of-tests", CONFIG)
    return "small-of-tests"


def section(folder: Path, **changes) -> ClipModelSection:
    return ClipModelSection(**{"name": "mine", "model": f"local-dir:{folder}", **changes})


def picture(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def features_of(name: str, pixels: np.ndarray, prompt: str) -> dict[str, np.ndarray]:
    extractor = EXTRACTORS.get(name).make("cpu")
    found = extractor.extract(View(pixels, prompt), {})
    extractor.close()
    return found


def test_features_are_those_of_open_clip(folder: Path) -> None:
    import open_clip
    import torch

    declare([section(folder)])
    pixels = picture(1, (90, 60))
    found = features_of("clip_mine", pixels, PROMPT)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.inference_mode():
        image = model.eval().encode_image(preprocess(Image.fromarray(pixels))[None], normalize=True)[0].numpy()
        text = model.encode_text(open_clip.tokenize([PROMPT]), normalize=True)[0].numpy()
    assert found["image"] == pytest.approx(image, abs=1e-6) and found["text"] == pytest.approx(text, abs=1e-6)
    assert np.linalg.norm(found["image"]) == pytest.approx(1, abs=1e-6)
    assert (found["scale"].item(), found["truncated"].tolist()) == (pytest.approx(90, rel=1e-6), [False])


def test_a_long_prompt_is_cut_with_its_end_token_kept_and_flagged(folder: Path) -> None:
    import torch
    from open_clip import SimpleTokenizer

    declare([section(folder)])
    found = features_of("clip_mine", picture(1), LONG)
    tokenizer, model = SimpleTokenizer(), small_model(0)
    tokens = [tokenizer.sot_token_id, *tokenizer.encode(LONG)[:CONTEXT - 2], tokenizer.eot_token_id]
    with torch.inference_mode():
        expected = model.encode_text(torch.tensor([tokens]), normalize=True)[0].numpy()
    assert found["truncated"].tolist() == [True] and found["text"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("num_words", "truncated"), [(1, False), (75, False), (76, True)])
def test_the_whole_context_may_be_used(folder: Path, num_words: int, truncated: bool) -> None:
    declare([section(folder)])
    assert features_of("clip_mine", picture(1), " ".join(["cat"] * num_words))["truncated"].tolist() == [truncated]


def hugging_face_tokenizer(folder: Path):
    """One with a start and an end token, as the text towers have that open_clip takes from there."""
    from open_clip.tokenizer import HFTokenizer
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, "a": 4, "man": 5}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    return HFTokenizer(str(folder), context_length=6)


def test_tokenizers_of_hugging_face_are_counted_uncut_and_keep_the_end_too(tmp_path: Path) -> None:
    tokenizer = hugging_face_tokenizer(tmp_path)
    assert [num_tokens(tokenizer, text) for text in ("a man", "a man a man", "a man a man a")] == [4, 6, 7]
    assert tokenizer(["a man a man a"]).tolist() == [[0, 4, 5, 4, 5, 1]]


def test_a_tokenizer_that_all_threads_share_gives_each_its_own_tokens(tmp_path: Path) -> None:
    """Counting switches cutting and padding off in Hugging Face's tokenizers, for whoever comes next."""
    extractor = OpenClip.__new__(OpenClip)
    extractor.prefix, extractor.tokenizer = "", hugging_face_tokenizer(tmp_path)
    texts = ["a man", "a man " * 60] * 1000
    alone = [extractor.tokens(text) for text in texts[:2]]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(extractor.tokens, texts))
    assert all(np.array_equal(ids, alone[index % 2][0]) and cut == alone[index % 2][1] for index, (ids, cut) in enumerate(together))


def test_a_prefix_changes_the_text_alone(folder: Path) -> None:
    declare([section(folder), section(folder, name="prefixed", prefix="A photo depicts ")])
    plain, prefixed, depicts = (features_of(name, picture(1), PROMPT) for name in ("clip_mine", "clip_prefixed", "clip_mine_depicts"))
    assert np.array_equal(plain["image"], prefixed["image"]) and not np.allclose(plain["text"], prefixed["text"], atol=1e-3)
    assert np.array_equal(prefixed["text"], depicts["text"])
    assert np.array_equal(features_of("clip_mine", picture(1), f"A photo depicts {PROMPT}")["text"], prefixed["text"])
    assert len({EXTRACTORS.get(name).digest() for name in ("clip_mine", "clip_prefixed", "clip_mine_depicts")}) == 3


def test_weights_count_by_their_content_and_not_by_their_place(folder: Path, tmp_path: Path) -> None:
    def digest(of: Path) -> str:
        declare([section(of)])
        return EXTRACTORS.get("clip_mine").digest()

    same = digest(save_model(tmp_path / "same"))
    other = digest(save_model(tmp_path / "other", seed=1))
    assert digest(folder) == same != other
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {"mean": [0, 0, 0]}}))
    assert digest(folder) != same, "how images are normalised is part of it"


def test_declared_weights_that_hash_to_something_else_are_refused(folder: Path) -> None:
    weights = folder / "open_clip_model.safetensors"
    declare([section(folder, sha256=sha256_file(weights))])
    EXTRACTORS.get("clip_mine").digest()
    declare([section(folder, sha256="0" * 64)])
    with pytest.raises(AssetError, match=f"clip_mine: .* has SHA-256 {sha256_file(weights)}, and score.clip_model says 0000"):
        EXTRACTORS.get("clip_mine").digest()
    weights.unlink()
    with pytest.raises(AssetError, match="clip_mine: no file .*open_clip_model.safetensors"):
        EXTRACTORS.get("clip_mine").make("cpu")


def test_a_file_of_weights_and_one_of_another_architecture(folder: Path, small_architecture: str) -> None:
    weights = str(folder / "open_clip_model.safetensors")
    declare([section(folder), ClipModelSection(name="of_file", model=small_architecture, pretrained=weights)])
    assert np.array_equal(features_of("clip_of_file", picture(1), PROMPT)["image"], features_of("clip_mine", picture(1), PROMPT)["image"])
    declare([ClipModelSection(name="of_file", model="ViT-B-32", pretrained=weights)])
    with pytest.raises(AssetError, match="open_clip cannot make ViT-B-32 of .*Check the architecture"):
        EXTRACTORS.get("clip_of_file").make("cpu")


@pytest.mark.parametrize(("changes", "message"), [
    ({"name": "tiny"}, 'the name "tiny" is taken'), ({"name": "vit_b_32_openai"}, 'the name "vit_b_32_openai" is taken'),
    ({"name": "x_depicts"}, "is taken"), ({"pretrained": "openai"}, "has its own weights; leave pretrained empty"),
    ({"model": "ViT-B-33"}, 'open_clip has no model "ViT-B-33". Did you mean "ViT-B-32"?'),
    ({"model": "ViT-B-32", "pretrained": "opnai"}, r'pretrained "opnai" is neither a file nor a tag of ViT-B-32 \(openai, '),
])
def test_a_declaration_that_cannot_be_meant_is_refused(folder: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        declare([section(folder, **changes)])
    with pytest.raises(ConfigError, match="is taken"):
        declare([section(folder), section(folder)])


def test_a_recipe_declares_models_and_measures_on_them(folder: Path) -> None:
    score = {"metrics": ["hand_rate"], "extra_metrics": ["clip_score_mine", "clip_s_mine", "kid_clip_mine", "cmmd_clip_mine", "hand_rate"],
             "clip_model": [{"name": "mine", "model": f"local-dir:{folder}"}]}
    entries = {entry.name: entry for entry in chosen_metrics(RunConfig(name="test", score=score))}
    assert list(entries) == ["hand_rate", "clip_score_mine", "clip_s_mine", "kid_clip_mine", "cmmd_clip_mine"]
    assert entries["clip_s_mine"].extractors == ("clip_mine_depicts",) and not entries["kid_clip_mine"].always_here
    assert "clip_mine" in entries["kid_clip_mine"].explanation
    with pytest.raises(ConfigError, match='unknown extractor "clip_mine"'):
        chosen_metrics(RunConfig(name="test", score={**score, "clip_model": []}))


def test_released_models_are_found_by_name_and_offline_say_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANA_BENCH_CACHE", str(tmp_path))
    entry = METRICS.get("fd_clip_vit_b_32_laion2b_s34b_b79k")
    assert entry.extractors == ("clip_vit_b_32_laion2b_s34b_b79k",) and "clip_s_vit_b_32_openai" in METRICS
    with pytest.raises(AssetError, match="hub laion/CLIP-ViT-B-32-laion2B-s34B-b79K could not be asked for open_clip_model.safetensors"):
        entry.extractor_digest()
    assert card_of(entry).why_not.startswith("no self-test"), "a card needs no weights"
    with pytest.raises(ConfigError, match='unknown extractor "clip_vit_b_32_laion2b".*Did you mean "clip_vit_b_32_laion2b_e16"'):
        METRICS.get("clip_score_vit_b_32_laion2b")


def transformers_model(path: Path):
    """A random CLIP of transformers with the small architecture, and its weights in a file."""
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(3)
    text = {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 32, "hidden_act": "gelu",
            "eos_token_id": 49407, "bos_token_id": 49406, "pad_token_id": 49407, "max_position_embeddings": CONTEXT}
    vision = {"hidden_size": WIDTH, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 32, "hidden_act": "gelu",
              "image_size": SIDE, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    torch.nn.init.constant_(model.logit_scale, np.log(70))
    with torch.no_grad():
        model.text_projection.weight.neg_()  # so that the angles of this seed are acute
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return model


class Processor:
    """Pixels as CLIP's processor gives them at the model's own size, and open_clip's tokens."""

    def __call__(self, text=None, images=None, **kwargs):
        from open_clip import SimpleTokenizer
        from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
        from torchvision.transforms.functional import normalize

        import torch

        if images is not None:
            return {"pixel_values": torch.stack([normalize(image / 255, OPENAI_DATASET_MEAN, OPENAI_DATASET_STD) for image in images])}
        ids = SimpleTokenizer()(list(text))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_the_mean_is_torchmetrics_clip_score_on_the_same_weights(tmp_path: Path, small_architecture: str) -> None:
    """The weights are converted from transformers' layout; pairs at more than a right angle are left out, for torchmetrics cuts the mean only."""
    import torch
    from torchmetrics.multimodal import CLIPScore

    class AsTorchmetricsExpects(torch.nn.Module):
        """Before transformers 5 the embeddings themselves were returned."""

        def __init__(self, model):
            super().__init__()
            self.model, self.config = model, model.config

        def get_image_features(self, pixel_values):
            return self.model.get_image_features(pixel_values=pixel_values).pooler_output

        def get_text_features(self, input_ids, attention_mask):
            return self.model.get_text_features(input_ids=input_ids, attention_mask=attention_mask).pooler_output

    theirs = AsTorchmetricsExpects(transformers_model(tmp_path / "model.safetensors"))
    declare([ClipModelSection(name="mine", model=small_architecture, pretrained=str(tmp_path / "model.safetensors"))])
    metric, prompts = METRICS.get("clip_score_mine").make(EMPTY), [f"{PROMPT}, number {index}" for index in range(12)]
    pixels = [picture(index) for index in range(12)]
    scores = [metric.score(ScoredSample(sample_id="a_0", prompt=Prompt(id="a", text=prompt), features={"clip_mine": features_of("clip_mine", image, prompt)}))
              for image, prompt in zip(pixels, prompts, strict=True)]
    kept = [index for index, score in enumerate(scores) if score > 0]
    assert len(kept) >= 4
    reference = CLIPScore(model_name_or_path=lambda: (theirs, Processor()))
    reference.update([torch.from_numpy(pixels[index]).permute(2, 0, 1) for index in kept], [prompts[index] for index in kept])
    assert np.mean([scores[index] for index in kept]) == pytest.approx(float(reference.compute()), rel=1e-5)


def small_reward(name: str, file: Path, architecture: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The learned reward of that name with small weights of the same format."""
    put_asset(name, file, cache, monkeypatch)
    monkeypatch.setitem(EXTRACTORS._entries, name, entry_of(replace(PINNED[name], model=architecture)))


def reward(name: str, pixels: np.ndarray) -> float:
    features = {name: features_of(name, pixels, PROMPT)}
    return METRICS.get(name).make(EMPTY).score(ScoredSample(sample_id="a_0", prompt=Prompt(id="a", text=PROMPT), features=features))


def test_pickscore_is_the_logit_of_its_model(tmp_path: Path, small_architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    theirs = transformers_model(tmp_path / "model.safetensors")
    small_reward("pickscore_v1", tmp_path / "model.safetensors", small_architecture, tmp_path / "cache", monkeypatch)
    processed = {**Processor()(images=[torch.from_numpy(picture(2)).permute(2, 0, 1)]), **Processor()(text=[PROMPT])}
    with torch.inference_mode():
        expected = theirs(**processed).logits_per_image.item()
    assert reward("pickscore_v1", picture(2)) == pytest.approx(expected, rel=1e-5)


def test_hps_pads_to_a_square_and_is_a_hundred_cosines(tmp_path: Path, small_architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    torch.save({"epoch": 1, "state_dict": small_model(5).state_dict()}, tmp_path / "HPS.pt")
    small_reward("hps_v2_1", tmp_path / "HPS.pt", small_architecture, tmp_path / "cache", monkeypatch)
    wide = picture(3, (SIDE // 2, SIDE))
    padded = np.concatenate([np.zeros((SIDE // 4, SIDE, 3), np.uint8), wide, np.zeros((SIDE // 4, SIDE, 3), np.uint8)])
    features = features_of("hps_v2_1", padded, PROMPT)
    assert reward("hps_v2_1", wide) == pytest.approx(reward("hps_v2_1", padded), rel=1e-6)
    assert reward("hps_v2_1", padded) == pytest.approx(100 * float(features["image"] @ features["text"]), rel=1e-5)


server = test_assets.server
"""A hub on the loopback."""
CHILD = """
from sana_bench.features import EXTRACTORS
print(EXTRACTORS.get("clip_vit_b_32_openai").large_files()[0])
"""


def test_released_weights_come_from_the_hub_once(tmp_path: Path, server: test_assets.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first file that the repository has is taken; what is in the hub's cache is not asked for again."""
    for name, value in {"HF_ENDPOINT": server.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": str(test_assets.REPOSITORY)}.items():
        monkeypatch.setenv(name, value)
    for name in ("HF_HUB_OFFLINE", "SANA_BENCH_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    server.files["/timm/vit_base_patch32_clip_224.openai/resolve/main/open_clip_pytorch_model.bin"] = b"weights"
    first, second = (subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True).stdout.strip() for _ in range(2))
    assert first == second and Path(first).name == "open_clip_pytorch_model.bin" and Path(first).read_bytes() == b"weights"
    assert len(server.asked) == 1
