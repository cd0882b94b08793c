"""tiny-sana's model card: what it was trained on, how training went, and what detectors find in what it draws."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence

import numpy as np

from sana_bench.config import RunConfig, load_config
from sana_bench.data.manifest import load_manifest
from sana_bench.data.openpeople import CASUAL, EMOTIONS, HAIR
from sana_bench.errors import StoreError
from sana_bench.extract import FeatureStore, Item
from sana_bench.features import Features
from sana_bench.generate import generate
from sana_bench.images import read_image
from sana_bench.models import base_digest
from sana_bench.prompts import Expects, Prompt, PromptSuite
from sana_bench.records import SampleSet
from sana_bench.split import HELD_OUT_PEOPLE
from sana_bench.store import write_bytes
from sana_bench.tiny.clip_card import measure_matches
from sana_bench.tiny.workspace import Workspace, needed
from sana_bench.train import train

NUM_PORTRAITS, NUM_FULL_BODY = 40, 20
EXTRACTORS = ("pose", "hands", "faces", "clip_tiny")
SHOWN = 12
WINDOW_PX, SMALL_PX = 512, 256


def card_suite() -> PromptSuite:
    """40 portrait and 20 full-body prompts in the words of the training captions; people, hair and clothes are mixed anew."""
    hair = [phrase for person, phrase in HAIR.items() if person not in HELD_OUT_PEOPLE]
    subjects = ["a person", *(f"a {noun} with {phrase}" for noun in ("woman", "man") for phrase in hair), "a woman", "a man"]
    clothes = sorted({outfit for person, pair in CASUAL.items() if person not in HELD_OUT_PEOPLE for outfit in (pair[1][0],)})
    prompts = []
    for index in range(NUM_PORTRAITS):
        subject, emotion = subjects[index % len(subjects)], EMOTIONS[index % len(EMOTIONS)]
        text = (f"studio portrait of {subject}, plain white shirt, neutral expression, plain grey background",
                f"studio headshot of {subject}, plain white shirt, {emotion} expression, plain grey background",
                f"studio portrait of {subject}, plain grey background",
                f"casual selfie of {subject}, denim jacket over a grey t-shirt, park")[index % 4]
        prompts.append(Prompt(id=f"portrait-{index:02}", text=text, tags=("portrait",)))
    for index in range(NUM_FULL_BODY):
        subject = subjects[index % len(subjects)]
        text = (f"full-body studio photo of {subject}, white t-shirt and shorts, standing straight, hands loose on the sides",
                f"casual full-body photo of {subject}, {clothes[index % len(clothes)]}, park")[index % 2]
        prompts.append(Prompt(id=f"body-{index:02}", text=text, tags=("full_body",), expects=Expects(hands=2, full_body=True)))
    return PromptSuite(name="tiny_card", version=1, description="Prompts of tiny-sana's model card.", source="sana-bench",
                       license="CC0-1.0", prompt=tuple(prompts))


def write_card(build: Workspace) -> None:
    """Draw the card's samples, measure, and write README.md, card.json, curves.svg and samples.webp beside the weights."""
    needed(build.tiny_sana / "model_index.json", "assemble")
    config = load_config("tiny", (f"model.base={build.tiny_sana}", "train.trainer=none", f"run.store={build.store.root}"))
    suite = card_suite()
    sample_set = generate(config, train(config, build.store), suite, build.store)
    features = _detect(config, suite, sample_set, build)
    facts = {"base": base_digest(config.model), "psnr_db": measure_psnr(config, build), **count_findings(suite, sample_set, features),
             "prompts": _follow_prompts(suite, sample_set, features),
             "training": json.loads(needed(build.tiny_sana / "training.json", "assemble").read_text()),
             "training_people": sorted(set(HAIR) - set(HELD_OUT_PEOPLE)), "reference_people": list(HELD_OUT_PEOPLE),
             "sampling": sample_set.sampling}
    write_bytes(build.tiny_sana / "card.json", json.dumps(facts, indent=1).encode())
    write_bytes(build.tiny_sana / "curves.svg", _draw_curves(facts["training"]))
    write_bytes(build.tiny_sana / "samples.webp", _contact_sheet(build, sample_set))
    write_bytes(build.tiny_sana / "README.md", _render(facts).encode())


def measure_psnr(config: RunConfig, build: Workspace) -> dict[str, float]:
    """Autoencoder's PSNR on the reference people's photographs, in dB, mean over images.

    `portrait_2048`: whole 2048 px portraits; `native_windows`: the middle 512 px window of each photograph at its own
    resolution; `views_256`: the whole photograph at 256 px.
    """
    from PIL import Image

    from sana_bench.data.views import fit_view
    from sana_bench.models import load_pipeline
    from sana_bench.tiny.autoencoder import psnr_db

    vae = load_pipeline(config.model, "cpu").vae
    manifest = load_manifest("openpeople:reference", build.store)
    groups: dict[str, list[float]] = {"portrait_2048": [], "native_windows": [], "views_256": []}
    for row in manifest.rows:
        if not row.kind.startswith(("studio_", "amateur_")):
            continue
        image = Image.fromarray(read_image(manifest.folder / row.file_name, StoreError))
        if row.kind == "studio_portrait":
            groups["portrait_2048"].append(psnr_db(vae, fit_view(image, 2048, 2048)))
        left, top = (image.width - WINDOW_PX) // 2, int(image.height * row.focus_y - WINDOW_PX / 2)
        groups["native_windows"].append(psnr_db(vae, image.crop((left, top, left + WINDOW_PX, top + WINDOW_PX))))
        groups["views_256"].append(psnr_db(vae, fit_view(image, SMALL_PX, SMALL_PX, fit=row.fit, focus_y=row.focus_y)))
    return {name: round(float(np.mean(values)), 2) for name, values in groups.items()}


def count_findings(suite: PromptSuite, sample_set: SampleSet, features: Sequence[Mapping[str, Features]]) -> dict[str, object]:
    """Faces in portraits, poses and hands in full-body samples."""
    tags = [suite.by_id(sample.prompt_id).tags[0] for sample in sample_set.samples]

    def found(tag: str, detector: str) -> list[int]:
        return [len(each[detector]["keypoints"]) for each, own in zip(features, tags, strict=True) if own == tag]

    return {"portraits": NUM_PORTRAITS, "portraits_with_face": sum(map(bool, found("portrait", "faces"))),
            "full_body": NUM_FULL_BODY, "full_body_with_pose": sum(map(bool, found("full_body", "pose"))),
            "full_body_with_face": sum(map(bool, found("full_body", "faces"))),
            "full_body_hands_found": sum(found("full_body", "hands")), "full_body_hands_expected": 2 * NUM_FULL_BODY}


def _follow_prompts(suite: PromptSuite, sample_set: SampleSet, features: Sequence[Mapping[str, Features]]) -> dict:
    """How well tiny-clip recognises the samples' prompts in them."""
    from sana_bench.features.clip_model import load_clip, load_tokenizer

    images_ND = np.stack([each["clip_tiny"]["image"] for each in features])
    return measure_matches(load_clip(), load_tokenizer(), images_ND, [suite.by_id(sample.prompt_id).text for sample in sample_set.samples])


def _detect(config: RunConfig, suite: PromptSuite, sample_set: SampleSet, build: Workspace) -> list[Mapping[str, Features]]:
    folder = build.store.folder("samples", sample_set.digest)
    items = [Item(sample.pixels_sha256, suite.by_id(sample.prompt_id).text,
                  lambda sample=sample: read_image(folder / sample.file_name, StoreError)) for sample in sample_set.samples]
    with FeatureStore(build.store, EXTRACTORS, "cpu") as store:
        return store.features_of(items, "look at samples")


def _draw_curves(training: Mapping[str, Sequence[Mapping]]) -> bytes:
    """Each part's losses over all of its runs, one behind the other; a run whose curve was not kept leaves a gap."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.fonttype"] = "none"
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, (name, runs) in zip(figure.subplots(1, 2), training.items(), strict=True):
        start = 0
        for run in runs:
            if run["loss"]:
                axes.plot(start + np.linspace(0, run["steps"], len(run["loss"])), run["loss"], color="C0")
            start += run["steps"]
            axes.axvline(start, color="0.8", linewidth=0.8)
        axes.set(title=name, xlabel="step", ylabel="loss", xlim=(0, start))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()


def _contact_sheet(build: Workspace, sample_set: SampleSet) -> bytes:
    """The first portraits and full bodies, 256 px each: not picked."""
    from PIL import Image

    folder, half = build.store.folder("samples", sample_set.digest), SHOWN // 2
    chosen = [*sample_set.samples[:half], *sample_set.samples[NUM_PORTRAITS:NUM_PORTRAITS + half]]
    sheet = Image.new("RGB", (256 * half, 512))
    for index, sample in enumerate(chosen):
        image = Image.fromarray(read_image(folder / sample.file_name, StoreError)).resize((256, 256), Image.Resampling.LANCZOS)
        sheet.paste(image, (index % half * 256, index // half * 256))
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=85)
    return buffer.getvalue()


def _describe_runs(runs: Sequence[Mapping]) -> str:
    return ", then ".join(f"{run['steps']:,} steps at {run['learning_rate']:g}" + (f" ({run['note']})" if "note" in run else "") for run in runs)


def _render(facts: Mapping) -> str:
    psnr, prompts = facts["psnr_db"], facts["prompts"]
    trained = {name: _describe_runs(runs) for name, runs in facts["training"].items()}
    attributes = "".join(f"| prompt's {name.replace('_', ' ')} seen by tiny-clip, {found['num_choices']} choices | "
                         f"{found['accuracy']:.0%} of {found['num_pictures']} (chance {found['chance']:.0%}) |\n"
                         for name, found in prompts["attributes"].items())
    return f"""# tiny-sana

A small Sana from the real diffusers and transformers classes, trained by sana-bench for its embedded default run. It draws
people in the words of its training captions at 2048x2048, on a laptop CPU; it is a test object, not a product.

- **Data**: the OpenPeople photographs and sheet cells (MIT) of {", ".join(facts["training_people"])}. {", ".join(facts["reference_people"])} were
  never seen. Everybody in OpenPeople is synthetic.
- **Parts**: `AutoencoderDC` f32c32 with pixel (un)shuffle, `SanaTransformer2DModel` with 2x2 patches (1,024 tokens at 2048 px),
  `Gemma2Model` with a small byte-level BPE tokenizer; float16 weights.
- **Made by** `sana-bench build-tiny` (seeded; resumable; `--refine` for every training after the first). Autoencoder: {trained["autoencoder"]}.
  Transformer: {trained["transformer"]}.

| measured on this build | |
|---|---|
| autoencoder, reference people, whole 2048 px portraits | {psnr["portrait_2048"]} dB |
| autoencoder, reference people, native 512 px windows | {psnr["native_windows"]} dB |
| autoencoder, reference people, 256 px views | {psnr["views_256"]} dB |
| portrait samples with a face (MediaPipe) | {facts["portraits_with_face"]} of {facts["portraits"]} |
| full-body samples with a pose (MediaPipe) | {facts["full_body_with_pose"]} of {facts["full_body"]} |
| full-body samples with a face | {facts["full_body_with_face"]} of {facts["full_body"]} |
| hands found in full-body samples | {facts["full_body_hands_found"]} of {facts["full_body_hands_expected"]} expected |
| own prompt fits better than another of the suite's (tiny-clip) | {prompts["matching"]["own_above_other"]:.0%} (chance 50%) |
{attributes}
![training curves](curves.svg)

The first six portraits and the first six full bodies of the card's suite, not picked:

![samples](samples.webp)
"""
