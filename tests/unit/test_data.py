"""Training and reference data: OpenPeople by person, user folders, views of an exact size."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from sana_bench.assets import asset_path
from sana_bench.data import openpeople
from sana_bench.data.manifest import check_apart, load_imagefolder, picture_enlargement, picture_view
from sana_bench.data.pictures import pictures_of
from sana_bench.data.views import MARGIN, enlargement, fit_view
from sana_bench.errors import DataError
from sana_bench.split import HELD_OUT_PEOPLE


@pytest.fixture(scope="module")
def people():
    return openpeople.find_people(asset_path("openpeople"))


def test_every_person_has_28_pictures_with_captions(people):
    for person in (people[0], people[4], people[8]):  # three sheet layouts: frames stand up to 90 px apart
        pictures = openpeople.pictures_of(person)
        assert len(pictures) == 28
        assert [picture.kind for picture in pictures[4:]] == ["emotion"] * 16 + ["head"] * 4 + ["body"] * 4


def test_cells_hold_no_frame(people):
    for person in (people[0], people[4], people[8]):
        for picture in openpeople.pictures_of(person)[4:]:
            pixels = np.asarray(picture.image.convert("L"))
            edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
            assert all((edge > 235).mean() < 0.6 for edge in edges), (person.name, picture.kind, picture.details)


def test_a_sheet_without_frames_is_refused():
    with pytest.raises(DataError, match="frames"):
        openpeople.cut_sheet(Image.new("RGB", (800, 600), "grey"), (4, 4), "blank")


def test_caption_says_what_metadata_and_prompt_say(people):
    metadata = json.loads((people[0] / "metadata.json").read_text())
    picture = openpeople.pictures_of(people[0])[5]
    assert openpeople.caption_of(picture, openpeople.subject_of(metadata)) == (
        "studio headshot of a woman aged 35 to 45 with short curly black hair, plain white shirt, happy expression, "
        "plain grey background")


def test_nobody_is_in_both_splits_and_nobody_is_lost(people):
    names = {person.name for person in people}
    assert set(HELD_OUT_PEOPLE) < names and len(names) == 10
    assert set(openpeople.HAIR) == set(openpeople.CASUAL) == names


def write_folder(folder, lines, images=("a.png",)):
    folder.mkdir()
    for name in images:
        Image.new("RGB", (8, 8)).save(folder / name)
    (folder / "metadata.jsonl").write_text("\n".join(json.dumps(line) if isinstance(line, dict) else line for line in lines))
    return folder


def test_an_imagefolder_reads_as_datasets_reads_it(tmp_path):
    manifest = load_imagefolder(write_folder(tmp_path / "mine", [{"file_name": "a.png", "text": "a woman", "extra": 1}]))
    assert [(row.file_name, row.text, row.fit) for row in manifest.rows] == [("a.png", "a woman", "crop")]


def test_csv_metadata_is_read_too(tmp_path):
    folder = write_folder(tmp_path / "mine", [])
    (folder / "metadata.jsonl").unlink()
    (folder / "metadata.csv").write_text('file_name,text\na.png,"a man, waving"\n')
    assert load_imagefolder(folder).rows[0].text == "a man, waving"


@pytest.mark.parametrize(("content", "part"), [
    ("file_name,text\na.png,a man, waving\n", "more fields than the first line names"), ('file_name,text\na.png,"a man\n', "line 2: not CSV"),
    (f"file_name,text\na.png,{'x' * 140_000}\n", "not CSV: field larger")])
def test_csv_that_would_lose_a_part_of_a_text_is_one_error(tmp_path, content, part):
    folder = write_folder(tmp_path / "mine", [])
    (folder / "metadata.jsonl").unlink()
    (folder / "metadata.csv").write_text(content)
    with pytest.raises(DataError, match=part):
        load_imagefolder(folder)


@pytest.mark.parametrize(("line", "part"), [
    ("[" * 100_000, "not JSON"), (f'{{"file_name": "a.png", "text": "a man", "focus_y": {"9" * 5000}}}', "not JSON"),
    ({"file_name": f"{'a' * 5000}.png", "text": "a man"}, "no image"), ({"file_name": "circle.png", "text": "a man"}, "no image")])
def test_a_hostile_line_is_one_error(tmp_path, line, part):
    """Nesting and numbers that Python refuses, a name longer than any, and a link to itself."""
    folder = write_folder(tmp_path / "mine", [line])
    (folder / "circle.png").symlink_to("circle.png")
    with pytest.raises(DataError, match=f"line 1: {part}"):
        load_imagefolder(folder)


def test_captions_in_text_files_beside_images_are_read_as_train_py_reads_them(tmp_path):
    folder = write_folder(tmp_path / "mine", [], images=("a.png", "b.png"))
    (folder / "metadata.jsonl").unlink()
    (folder / "a.txt").write_text("a woman waving\n", encoding="utf-8-sig")
    with pytest.raises(DataError, match=r'"b.png" has no caption beside it \(b.txt\)'):
        load_imagefolder(folder)
    (folder / "b.txt").write_text("a man, on the left")
    assert [(row.file_name, row.text) for row in load_imagefolder(folder).rows] == [("a.png", "a woman waving"), ("b.png", "a man, on the left")]
    (folder / "b.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="captions are UTF-8"):
        load_imagefolder(folder)


def test_digest_follows_captions_and_pixels(tmp_path):
    line = {"file_name": "a.png", "text": "a woman"}
    first = load_imagefolder(write_folder(tmp_path / "one", [line])).digest
    assert load_imagefolder(write_folder(tmp_path / "two", [line])).digest == first
    assert load_imagefolder(write_folder(tmp_path / "three", [{**line, "text": "a man"}])).digest != first
    Image.new("RGB", (8, 8), "red").save(tmp_path / "two" / "a.png")
    assert load_imagefolder(tmp_path / "two").digest != first


def test_all_problems_of_a_folder_are_reported_at_once(tmp_path):
    folder = write_folder(tmp_path / "bad", [{"file_name": "gone.png", "text": "x"}, "not json", {"text": "no file"},
                                             {"file_name": "../../a.png", "text": "x"}])
    with pytest.raises(DataError) as caught:
        load_imagefolder(folder)
    for part in ('no image "gone.png"', "line 2", "line 3: file_name", "leaves the folder"):
        assert part in str(caught.value)


@pytest.mark.parametrize("make, message", [
    (lambda path: path, "no data source"),
    (lambda path: path.mkdir() or path, "has no captions: write metadata.jsonl"),
    (lambda path: write_folder(path, []), "lists no images"),
])
def test_an_empty_or_missing_folder_is_one_clear_error(tmp_path, make, message):
    with pytest.raises(DataError, match=message):
        load_imagefolder(make(tmp_path / "empty"))


def test_a_view_has_exactly_the_size_and_shows_the_focus():
    image = Image.new("RGB", (100, 300), "blue")
    image.paste("red", (0, 0, 100, 100))
    top = np.asarray(fit_view(image, 64, 64, focus_y=0.0))
    assert top.shape == (64, 64, 3) and (top[:, :, 0] > 200).all()
    bottom = np.asarray(fit_view(image, 64, 64, focus_y=1.0))
    assert (bottom[:, :, 2] > 200).all()


def test_padding_keeps_the_whole_image_and_adds_only_margins():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (200, 100, 3), dtype=np.uint8)
    view = np.asarray(fit_view(Image.fromarray(pixels), 200, 200, fit="pad"))
    assert np.array_equal(view[:, 50:150], pixels)
    margin = round(MARGIN * 100)
    assert np.array_equal(view[:, 30:50], pixels[:, :margin][:, ::-1])  # the left margin, mirrored once


def test_a_view_of_the_right_shape_is_the_image_itself():
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for fit in ("crop", "pad"):
        assert np.array_equal(np.asarray(fit_view(Image.fromarray(pixels), 64, 64, fit=fit)), pixels)


def test_the_people_of_both_sides_are_all_ten_and_nobody_twice(people):
    split = openpeople.PEOPLE
    assert sorted(split["training"] + split["reference"]) == sorted(person.name for person in people) and len(people) == 10
    assert not set(split["training"]) & set(split["reference"])


def test_what_is_written_for_a_side_shows_its_people_only(people, tmp_path, monkeypatch):
    """With one small picture a person, since writing all of them takes a minute."""
    small = openpeople.Picture(person="", kind="head", image=Image.new("RGB", (8, 8)), framing="headshot", details=(), fit="crop")
    monkeypatch.setattr(openpeople, "pictures_of", lambda folder: [dataclasses.replace(small, person=folder.name)])
    for side, number in (("training", 7), ("reference", 3)):
        assert openpeople.write_imagefolder(asset_path("openpeople"), tmp_path / side, side) == number
        assert {row.person for row in load_imagefolder(tmp_path / side).rows} == set(openpeople.PEOPLE[side])


@pytest.mark.parametrize(("content", "part"), [
    ("caf\xe9".encode("latin-1"), "not UTF-8"), (b'{"file_name": "0.png\\u0000", "text": "a"}', "zero byte"),
    (b'{"file_name": "0.png", "text": "\\ud800"}', "surrogate"), (b'{"file_name": "0.png", "text": "a", "focus_y": 2}', "focus_y")])
def test_text_that_is_none_is_one_error(tmp_path, content, part):
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    (tmp_path / "metadata.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=part):
        load_imagefolder(tmp_path)


@pytest.mark.parametrize(("line", "part"), [
    ('{"file_name": "a.png", "text": "x", "more": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 1: not JSON"),
    ('{"file_name": "a.png", "text": "x", "more": ' + "1" * 5000 + "}", "line 1: not JSON"),
    ({"file_name": "a" * 5000, "text": "x"}, 'line 1: no image "aaa')])
def test_lines_that_would_end_the_reader_are_problems_like_others(tmp_path, line, part):
    with pytest.raises(DataError, match=part):
        load_imagefolder(write_folder(tmp_path / "bad", [line]))


def test_metadata_that_is_a_folder_is_one_error(tmp_path):
    (tmp_path / "bad" / "metadata.jsonl").mkdir(parents=True)
    with pytest.raises(DataError, match="metadata.jsonl cannot be read"):
        load_imagefolder(tmp_path / "bad")


def test_images_that_cannot_be_read_are_named_together_before_any_is_encoded(tmp_path):
    names = ("large.png", "deep.png", "fine.png", "broken.png")
    folder = write_folder(tmp_path / "mine", [{"file_name": name, "text": "x"} for name in names], images=names)
    Image.new("1", (9_000, 9_000)).save(folder / "large.png")
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "deep.png")
    (folder / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        pictures_of(load_imagefolder(folder))
    first, *others = str(caught.value).splitlines()
    assert first == f"3 image(s) of {folder} cannot be used:"
    assert all(part in line for part, line in zip(("large.png has 9000x9000 pixels", "deep.png has more than 8 bits", "broken.png cannot be decoded"), others, strict=True))


def test_a_byte_order_mark_and_a_line_separator_in_a_text_are_read(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    (tmp_path / "metadata.jsonl").write_bytes('{"file_name": "0.png", "text": "a\u2028b"}\r\n'.encode("utf-8-sig"))
    assert [row.text for row in load_imagefolder(tmp_path).rows] == ["a\u2028b"]


@pytest.mark.parametrize(("training", "reference", "apart"), [
    ("openpeople:training", "openpeople:reference", True), ("openpeople:training-photographs", "openpeople:reference", True),
    ("openpeople:training-photographs", "openpeople:training", False), ("openpeople:reference", "openpeople:reference", False)])
def test_nobody_is_both_trained_on_and_compared_with(training, reference, apart):
    if apart:
        return check_apart(training, reference)
    with pytest.raises(DataError, match="never trained on"):
        check_apart(training, reference)


def test_people_of_users_folders_are_told_apart_by_name(tmp_path):
    for name, people in {"a": ("ann", "bob"), "b": ("bob",), "c": ("cleo", "")}.items():
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "0.png")
        (tmp_path / name / "metadata.jsonl").write_text("\n".join(
            json.dumps({"file_name": "0.png", "text": "a person", "person": person}) for person in people))
    with pytest.raises(DataError, match="share bob"):
        check_apart(str(tmp_path / "a"), str(tmp_path / "b"))
    check_apart(str(tmp_path / "a"), str(tmp_path / "c"))
    with pytest.raises(DataError, match="all images|share"):
        check_apart(str(tmp_path / "c"), str(tmp_path / "." / "c"))
    (tmp_path / "b" / "metadata.jsonl").write_text('{"file_name": "0.png", "text": "a", "person": "P002"}')
    with pytest.raises(DataError, match="share P002"):
        check_apart(str(tmp_path / "b"), "openpeople:reference")


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize(("size", "width", "height"), [((40, 60), 80, 80), ((200, 100), 50, 50), ((64, 64), 64, 64), ((30, 90), 60, 20)])
def test_enlargement_is_by_how_much_a_line_of_the_picture_gets_thicker(fit, size, width, height):
    """A bright line across the middle of a picture of `size`, measured by how much light of it a column has after fitting."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    picture[size[1] // 2 - 4:size[1] // 2 + 4] = 200
    thickness = np.asarray(fit_view(Image.fromarray(picture), width, height, fit=fit), np.float64)[:, width // 2, 0].sum() / 200
    assert enlargement(size, width, height, fit=fit) == pytest.approx(thickness / 8, rel=0.1)


def test_a_row_says_by_how_much_its_picture_is_enlarged(tmp_path):
    for name, size in (("small", (40, 40)), ("large", (300, 200))):
        Image.fromarray(np.zeros((*size[::-1], 3), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps({"file_name": f"{name}.png", "text": "t"}) + "\n" for name in ("small", "large")))
    manifest = load_imagefolder(tmp_path)
    assert [picture_enlargement(manifest, row, (100, 100)) for row in manifest.rows] == [2.5, 0.5]
    assert all(picture_view(manifest, row, (100, 100)).shape == (100, 100, 3) for row in manifest.rows)
