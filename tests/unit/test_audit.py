"""Parts of an audit whose answer is known: folders, captions, copies, order, limits, poses, light."""

from __future__ import annotations

import json
import os
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from sana_bench.audit import charts, looks, summary, variety
from sana_bench.audit.captions import normalised, num_words, token_counter
from sana_bench.audit.duplicates import near_groups, same_groups
from sana_bench.audit.faults import in_order_of_need, judge
from sana_bench.audit.folder import Entry, read_folder
from sana_bench.audit.record import Fault, Finding, Histogram, PerceivedGroups
from sana_bench.audit.rules import FaultSection, LimitSection, load_rules
from sana_bench.audit.run import _slug
from sana_bench.cli import COMMANDS, main
from sana_bench.config import GenerateSection, ModelSection
from sana_bench.data.buckets import bucket_of
from sana_bench.data.manifest import Row
from sana_bench.errors import ConfigError, DataError
from sana_bench.features import View
from sana_bench.features.light import CHEEKS, Light, cheek_lightness
from sana_bench.features.perceptual_hash import PerceptualHash, differing_bits
from sana_bench.generation.sampling import instruction_of
from sana_bench.store import Store


def picture(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(folder / name)


# What a folder holds.

def test_everything_in_a_folder_is_listed_once(tmp_path: Path) -> None:
    for name in ("b.png", "a.webp", "deep/c.jpg", ".hidden/d.png", "f.png"):
        picture(tmp_path, name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "e.tiff").write_bytes(b"an image that training does not read")
    lines = [{"file_name": "f.png", "text": "one"}, {"file_name": "deep/../b.png", "text": "two"}, {"file_name": "b.png", "text": "twice"},
             {"file_name": "../x.png", "text": "outside"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join([*map(json.dumps, lines), "[1]", "{"]))
    found = read_folder(str(tmp_path), Store(tmp_path / "store"))
    assert [(entry.row.file_name, entry.listed) for entry in found.entries] == [
        ("f.png", True), ("deep/../b.png", True), ("a.webp", False), ("e.tiff", False), ("deep/c.jpg", False)]
    assert [(each.line, each.without_image) for each in found.problems] == [(3, False), (4, True), (5, False), (6, False)]


def test_metadata_that_is_no_text_is_a_problem_and_no_end(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    (tmp_path / "metadata.jsonl").write_bytes("caf\xe9".encode("latin-1"))
    found = read_folder(str(tmp_path), Store(tmp_path / "store"))
    assert len(found.entries) == 1 and "not UTF-8" in found.problems[0].message and str(tmp_path) not in found.problems[0].message


def test_a_file_name_that_is_no_text_is_written_out(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    (tmp_path / "a.png").rename(tmp_path / b"caf\xe9.png".decode("utf-8", "surrogateescape"))
    assert read_folder(str(tmp_path), Store(tmp_path / "store")).entries[0].row.file_name == "caf\\xe9.png"


def test_a_pipe_is_named_and_not_waited_for(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    os.mkfifo(tmp_path / "b.png")
    found = read_folder(str(tmp_path), Store(tmp_path / "store"))
    assert [each.problem for each in looks._heads(found.entries, lambda size: (512, 512))] == ["", "is no regular file"]


def test_a_folder_of_any_script_has_a_name_of_its_own(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("人物", "風景", "Фото 2", "My Photos")]
    for folder in folders:
        picture(folder, "a.png")
    names = [_slug(read_folder(str(folder), Store(tmp_path / "store"))) for folder in folders]
    assert names == ["人物", "風景", "фото-2", "my-photos"]


def test_an_image_whose_line_is_broken_is_not_said_to_have_none(tmp_path: Path) -> None:
    picture(tmp_path, "a.png")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "caption": "the wrong key"}')
    found = read_folder(str(tmp_path), Store(tmp_path / "store"))
    assert "no usable line" in judge(looks._heads(found.entries, lambda size: (8, 8)), FaultSection(), 8, token_counter(ModelSection()), 64).faults[0][0].reason


def test_an_image_is_held_against_the_view_that_training_makes_of_it(tmp_path: Path) -> None:
    """An image of one of Sana's own sizes is large enough for its bucket, and too narrow for a square."""
    Image.new("RGB", (416, 608)).save(tmp_path / "a.png")
    entries = read_folder(str(tmp_path), Store(tmp_path / "store")).entries
    enlargements = [looks._heads(entries, partial(bucket_of, resolution=512, aspect_ratio_buckets=buckets))[0].enlargement for buckets in (True, False)]
    assert enlargements == [1.0, pytest.approx(512 / 416)]


def test_a_link_to_elsewhere_is_not_followed(tmp_path: Path) -> None:
    picture(tmp_path, "outside.png")
    picture(tmp_path, "mine/a.png")
    (tmp_path / "mine" / "b.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "mine" / "circle.jpg").symlink_to("circle.jpg")
    assert [entry.row.file_name for entry in read_folder(str(tmp_path / "mine"), Store(tmp_path / "store")).entries] == ["a.png", "circle.jpg"]


@pytest.mark.parametrize(("name", "message"), [("nothing_here", "no data source"), ("empty", "holds no images"), ("openpeople:trainin", "openpeople:training")])
def test_what_holds_nothing_is_one_error(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        read_folder(name if ":" in name else str(tmp_path / name), Store(tmp_path / "store"))


# Captions.

@pytest.mark.parametrize(("caption", "words"), [("", 0), ("a woman", 2), ("well-lit, 35 mm: a man's hand", 6), ("女性の肖像", 5), ("...", 0)])
def test_words_of_a_caption(caption: str, words: int) -> None:
    assert num_words(caption) == words


def test_captions_that_differ_in_case_and_spaces_are_the_same() -> None:
    assert normalised(" A  Woman\n") == normalised("a woman") != normalised("a woman.")


def test_tokens_are_counted_as_the_pipeline_counts_them(micro: dict[str, Path]) -> None:
    from diffusers import SanaPipeline

    pipeline = SanaPipeline.from_pretrained(micro["base"], local_files_only=True)
    counter = token_counter(ModelSection(base=str(micro["base"])))
    for caption in ("A woman in a Park ", "café 女", ""):
        text = pipeline._text_preprocessing(caption, clean_caption=False)
        mask = pipeline.tokenizer(text, padding="max_length", max_length=400, truncation=True, add_special_tokens=True, return_tensors="pt").attention_mask
        assert counter.count(caption) == int(mask.sum())
    assert str(micro["base"]) in counter.note and "differ" not in counter.note


@pytest.mark.parametrize("instruction", [True, False])
def test_as_many_tokens_are_read_as_the_pipeline_reads(micro: dict[str, Path], instruction: bool) -> None:
    """The last token that counts changes what the pipeline makes of a caption, and the one behind it does not."""
    from diffusers import SanaPipeline

    pipeline, counter = SanaPipeline.from_pretrained(micro["base"], local_files_only=True), token_counter(ModelSection(base=str(micro["base"])))
    settings = GenerateSection(max_sequence_length=12, complex_human_instruction=instruction)

    def embeds(caption: str) -> np.ndarray:
        return pipeline.encode_prompt(caption, False, max_sequence_length=12, complex_human_instruction=instruction_of(settings))[0].detach().numpy()

    captions = ["a woman" + " in" * number for number in range(12)]
    fitting = next(each for each in captions if counter.count(each) == settings.max_sequence_length)
    assert not np.array_equal(embeds(fitting), embeds(fitting.removesuffix("in") + "man"))
    assert np.array_equal(embeds(fitting + " in"), embeds(fitting + " man"))


def test_a_hub_base_that_was_fetched_before_is_counted_with_its_own_tokenizer(micro: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the hub's cache as huggingface_hub lays it out; nothing but the tokenizer is there, so nothing else is looked for."""
    commit = "1" * 40
    shutil.copytree(micro["base"] / "tokenizer", tmp_path / "models--somebody--sana" / "snapshots" / commit / "tokenizer")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert token_counter(ModelSection(base="somebody/sana", revision=commit)).note == "tokens are those of somebody/sana"
    assert "counts will differ" in token_counter(ModelSection(base="somebody/sana", revision="2" * 40)).note


def test_a_base_that_is_not_here_is_counted_with_another_tokenizer_and_said_so() -> None:
    other, own = token_counter(ModelSection(base="somebody/not-here", revision="0" * 40)), token_counter(ModelSection())
    assert "somebody/not-here" in other.note and "counts will differ" in other.note
    assert own.note == "tokens are those of tiny-sana" and other.count("a woman waving") == own.count("a woman waving") > 3


# Copies.

def hash_of(image: Image.Image) -> np.ndarray:
    return PerceptualHash("cpu").extract(View(np.asarray(image), ""), {})["bits"]


def shapes(seed: int) -> Image.Image:
    rng, image = np.random.default_rng(seed), Image.new("RGB", (400, 300), "grey")
    for _ in range(12):
        (left, right), (top, bottom) = np.sort(rng.integers(0, 300, (2, 2))).tolist()
        ImageDraw.Draw(image).ellipse((left, top, right + 20, bottom + 20), fill=tuple(rng.integers(0, 255, 3).tolist()))
    return image


def test_a_hash_stays_when_a_picture_is_resized_and_changes_with_the_picture() -> None:
    first, other = shapes(0), shapes(1)
    copies = [first.resize((200, 150), Image.Resampling.LANCZOS), first.resize((900, 700)), first.filter(ImageFilter.GaussianBlur(2)),
              first.point(lambda value: value * 0.8)]
    assert hash_of(first).shape == (4,) and hash_of(first).dtype == np.uint64
    assert max(int(differing_bits(hash_of(each), hash_of(first))) for each in copies) <= 12 < 60 < int(differing_bits(hash_of(other), hash_of(first)))
    assert not hash_of(Image.new("RGB", (50, 70), (13, 200, 90))).any()


def test_a_blank_picture_is_worth_a_look() -> None:
    """Blurred and compressed it is not, since nothing is in it that could be."""
    flat, gradient = Image.new("RGB", (64, 64), "black"), Image.linear_gradient("L").convert("RGB")
    photographed = Image.effect_noise((64, 64), 60).convert("RGB")
    made = [looks.Look(Entry(Row(file_name=name, text="a woman waving at a friend"), Path(name), True), name, (512, 512), 1.0, seen=looks.Seen(
        sharpness=0.0, blockiness=1.0, luminance=0.0, bits_4=hash_of(image), plausibility={"face": (), "hand": ()}, face_px=None, yaw=None, classes={},
        perceived={})) for name, image in (("flat", flat), ("gradient", gradient), ("photographed", photographed))]
    judged = judge(made, FaultSection(), 512, token_counter(ModelSection()), 64)
    assert [{fault.kind for fault in faults} - {"duplicate_captions"} for faults in judged.faults] == [{"blank"}, {"blank"}, set()]


def test_near_groups_are_those_of_all_pairs() -> None:
    """Against every pair, one by one; chains join, and blocks of rows make no difference."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, (700, 4), dtype=np.uint64)
    for target, source, bits in ((650, 3, 5), (300, 3, 12), (301, 300, 12), (600, 599, 13), (10, 11, 0)):
        flips = np.zeros(256, np.uint8)
        flips[rng.choice(256, bits, replace=False)] = 1
        hashes[target] = hashes[source] ^ np.packbits(flips).view(np.uint64)
    groups: list[set[int]] = []
    for first in range(700):
        near = {first, *np.flatnonzero(differing_bits(hashes, hashes[first]) <= 12).tolist()}
        touching = [group for group in groups if group & near]
        groups = [group for group in groups if not group & near] + [near.union(*touching)]
    assert sorted(map(tuple, near_groups(hashes, 12))) == sorted(tuple(sorted(group)) for group in groups if len(group) > 1)
    assert sorted(map(tuple, near_groups(hashes, 12))) == [(3, 300, 301, 650), (10, 11)]


def test_same_groups_hold_what_is_there_twice() -> None:
    assert same_groups(["a", "b", "a", 3, "c", "a"]) == [[0, 2, 5]]


# Order, limits.

def test_the_worst_of_each_kind_comes_first() -> None:
    faults = {"a": [("blurred", 1.0)], "b": [("blurred", 3.0)], "c": [("unreadable", 0.0)], "d": [("short_captions", -2.0), ("blurred", 2.0)], "e": []}
    made = {name: [Fault(kind=kind, reason="", badness=badness) for kind, badness in each] for name, each in faults.items()}
    assert in_order_of_need(made) == ["c", "b", "d", "a"]


def findings(**counts: float) -> list[Finding]:
    from sana_bench.audit.faults import KINDS

    return [Finding(kind=kind, title="", num_images=0, share=counts.get(kind, 0.0)) for kind in KINDS]


PERCEIVED = [PerceivedGroups(attribute="gender", classes=("feminine", "masculine"), counts=(3, 1), shares=(0.75, 0.25), corrected_shares=None,
                             num_undetermined=0, undetermined_share=0.0, undetermined_reasons={}),
             PerceivedGroups(attribute="age", classes=("under_30", "30_to_50", "over_50"), counts=(0, 0, 0), shares=None, corrected_shares=None,
                             num_undetermined=4, undetermined_share=1.0, undetermined_reasons={"no face found": 4})]


@pytest.mark.parametrize(("limit", "held"), [
    ("max_blurred=0.2", True), ("max_blurred=0.19", False), ("min_share_at_resolution=0.9", True), ("min_share_at_resolution=0.91", False),
    ("gender=feminine=0.75", True), ("gender=masculine=0.3", False), ("age=over_50=0.1", False), ("min_images=1", False), ("max_compressed=0", True)])
def test_a_limit_holds_up_to_its_value_and_breaks_where_nothing_was_measured(limit: str, held: bool) -> None:
    outcomes = summary.limit_outcomes(load_rules(None, [limit]).limit, [], findings(blurred=0.2, below_resolution=0.1), [], PERCEIVED)
    assert [each.held for each in outcomes] == [held]


def test_every_limit_is_measured() -> None:
    strict = LimitSection(**{name: 1 for name in LimitSection.model_fields if name != "group"})
    assert len(summary.limit_outcomes(strict, [], findings(), [], PERCEIVED)) == len(LimitSection.model_fields) - 1


def test_the_help_names_every_limit_and_every_fault() -> None:
    words = set(re.findall(r"\w+", COMMANDS["audit"].run.__doc__))
    assert {*LimitSection.model_fields, *FaultSection.model_fields} <= words


def test_limits_of_the_command_line_go_over_those_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text('[limit]\nmax_blurred = 0.1\nmin_faces = 0.5\n[[limit.group]]\ngroup = "gender=feminine"\nmin_share = 0.2\n[fault]\nmin_words = 3\n')
    rules = load_rules(path, ["max_blurred=0.3", "gender=feminine=0.4", "age=over_50=0.1"])
    assert (rules.limit.max_blurred, rules.limit.min_faces, rules.fault.min_words) == (0.3, 0.5, 3)
    assert [(each.group, each.min_share) for each in rules.limit.group] == [("gender=feminine", 0.4), ("age=over_50", 0.1)]


@pytest.mark.parametrize(("limit", "message"), [
    ("max_blured=0.1", 'limit.max_blured: unknown key. Did you mean "max_blurred"?'), ("max_blurred=2", "less than or equal to 1"),
    ("max_blurred", "takes name=value"), ("max_blurred=few", "takes name=value"), ("=0.5", "takes name=value"),
    ("gender=female=0.5", 'Did you mean "gender=feminine"?'), ("max_blurred=nan", "finite")])
def test_a_wrong_limit_is_one_error(limit: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_rules(None, [limit])
    assert message in str(caught.value)


@pytest.mark.parametrize(("content", "message"), [("[limits]\n", 'Did you mean "limit"?'), ("limit = 3\n", "limit"),
                                                  ("[limit\n", "not TOML"),
                                                  ("[fault]\nmin_sharpnes = 1\n", 'Did you mean "min_sharpness"?')])
def test_a_wrong_limits_file_is_one_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "limits.toml").write_text(content)
    for limits in ([], ["max_blurred=0.1"]):
        with pytest.raises(ConfigError) as caught:
            load_rules(tmp_path / "limits.toml", limits)
        assert message in str(caught.value)


def test_an_empty_folder_name_is_not_the_recipes_source(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", ""]) == 2
    assert "is empty" in capfd.readouterr().err


@pytest.mark.parametrize(("words", "message"), [
    (["--limit", "max_blured=0.1"], 'Did you mean "max_blurred"?'), (["--limits", "nowhere.toml"], "no limits file"),
    (["--resolution", "0"], "--resolution takes")])
def test_a_wrong_command_line_ends_before_anything_is_looked_at(tmp_path: Path, words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path, "mine/a.png")
    assert main(["audit", str(tmp_path / "mine"), "--set", f"run.store={tmp_path / 'store'}", "--out", str(tmp_path / "out"), *words]) == 2
    out, err = capfd.readouterr()
    assert out == "" and message in err and not (tmp_path / "out").exists() and not (tmp_path / "store").exists()


# What people do, and how they are lit.

def pose_of(**moved: tuple[int, float, float]) -> dict:
    """A person who stands upright in an image of 400 x 800, with some points elsewhere."""
    points = np.zeros((33, 3), np.float32)
    for index, place in {11: (240, 200), 12: (160, 200), 13: (250, 300), 14: (150, 300), 15: (255, 400), 16: (145, 400), 23: (220, 400), 24: (180, 400),
                         25: (222, 560), 26: (178, 560), 27: (224, 720), 28: (176, 720)}.items():
        points[index] = (*place, 0.99)
    for index, x, y in moved.values():
        points[index, :2] = x, y
    return {"pose": {"keypoints": points[None]}, "faces": {"keypoints": np.zeros((0, 478, 2), np.float32)}}


@pytest.mark.parametrize(("moved", "size", "expected"), [
    ({}, (400, 800), ("whole body", "arms down, legs straight")), ({}, (400, 700), ("to the knees", "arms down, legs straight")),
    ({}, (400, 500), ("to the hips", "arms down, legs straight")), ({}, (400, 300), ("head and shoulders", "arms down, legs straight")),
    ({"wrist": (15, 300, 100)}, (400, 800), ("whole body", "an arm raised")), ({"ankle": (27, 100, 560)}, (400, 800), ("whole body", "knees bent"))])
def test_framing_and_pose(moved: dict, size: tuple[int, int], expected: tuple[str, str]) -> None:
    features = pose_of(**moved)
    assert (variety.framing(features, size), variety.posture(features, size)) == expected


def test_without_a_pose_nothing_is_said_of_it() -> None:
    nobody = {"pose": {"keypoints": np.zeros((0, 33, 3), np.float32)}, "faces": {"keypoints": np.zeros((0, 478, 2), np.float32)}}
    assert [variety.RESPECTS[name].classify(nobody, (8, 8)) for name in ("framing", "pose", "expression", "head_angle", "light_side")] == [None] * 5
    assert variety.RESPECTS["faces"].classify(nobody, (8, 8)) == "0"


def test_a_face_tilted_by_so_many_degrees_is_read_as_that() -> None:
    points = np.zeros((478, 3))
    points[variety.FOREHEAD], points[variety.CHIN] = (0, -50, 0), (0, 50, 0)
    for degrees in (-30, 0, 20):
        turned = points.copy()
        turned[:, 1], turned[:, 2] = np.cos(np.radians(degrees)) * points[:, 1], -np.sin(np.radians(degrees)) * points[:, 1]
        assert variety.face_nod(turned) == pytest.approx(degrees - variety.LEVEL_DEGREES)


@pytest.mark.parametrize(("left", "right", "side"), [(200, 120, "from the left"), (120, 200, "from the right"), (160, 165, "even")])
def test_light_comes_from_the_brighter_cheek(left: int, right: int, side: str) -> None:
    pixels = np.full((200, 200, 3), left, np.uint8)
    pixels[:, 100:] = right
    face = np.full((478, 2), 100.0, np.float32)
    for polygon, middle in zip(CHEEKS, (60, 140), strict=True):
        angles = np.linspace(0, 2 * np.pi, len(polygon), endpoint=False)
        face[list(polygon)] = np.stack([middle + 20 * np.cos(angles), 100 + 20 * np.sin(angles)], axis=1)
    features = {"faces": {"keypoints": face[None]}}
    features["light"] = Light("cpu").extract(View(pixels, ""), features)
    assert variety.light_side(features, (200, 200)) == side
    assert variety.light_side({**features, "light": Light("cpu").extract(View(pixels[:, ::-1].copy(), ""), features)}, (200, 200)) == {
        "from the left": "from the right", "from the right": "from the left"}.get(side, side)
    assert variety.mean_luminance(features) == pytest.approx((left + right) / 2, abs=255 / 16)
    assert cheek_lightness(pixels, face - 1000) == pytest.approx((np.nan, np.nan), nan_ok=True)


# Charts.

def test_columns_are_as_high_as_their_counts_and_red_beyond_the_limit() -> None:
    histogram = Histogram(name="x", title="x", unit="px", edges=(0, 1, 2, 3), counts=(2, 0, 4), limit=1, worse="below")
    first, last = charts.columns(histogram)
    assert first.height / last.height == pytest.approx(0.5) and (first.bad, last.bad) == (True, False)
    assert charts.limit_x(histogram) == pytest.approx(charts.LEFT + (charts.WIDTH - 2 * charts.LEFT) / 3, abs=0.1)
    assert charts.limit_x(histogram.model_copy(update={"limit": 7})) is None


def test_captions_in_text_files_beside_images_are_found(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "a.txt").write_text("a woman waving")
    found = read_folder(str(tmp_path), Store(tmp_path / "store"))
    assert [(entry.row.file_name, entry.row.text, entry.listed) for entry in found.entries] == [("a.png", "a woman waving", True), ("b.png", "", False)]
    assert found.problems == ()
