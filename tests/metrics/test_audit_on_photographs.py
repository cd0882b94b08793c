"""An audit of photographs: every planted fault is found and named, nothing else is, and limits are exit codes."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from sana_bench.audit import variety
from sana_bench.audit.faults import KINDS
from sana_bench.audit.record import AuditReport
from sana_bench.audit.rules import LimitSection
from sana_bench.cli import main
from sana_bench.extract import in_order
from sana_bench.features import EXTRACTORS
from sana_bench.metrics.perceived import ATTRIBUTES
from tests.audit_folders import FAULTS, HOSTILE_CAPTION, HOSTILE_NAME, RESOLUTION, write_clean, write_faulty
from tests.photographs import photograph, read

pytestmark = pytest.mark.weights

NOTHING_WRONG = [f"--limit={name}={0 if name.startswith('max_') else 1}" for name in LimitSection.model_fields if name not in ("group", "min_hands")]


@dataclass(frozen=True)
class Audited:
    root: Path

    def words(self, name: str, *more: str) -> list[str]:
        return ["audit", str(self.root / name), "--out", str(self.root / f"{name}_out"), "--resolution", str(RESOLUTION), "--set", "run.device=cpu",
                "--set", f"run.store={self.root / 'store'}", "--set", "generate.max_sequence_length=300", *more]

    def report(self, name: str) -> AuditReport:
        return AuditReport.model_validate_json((self.root / f"{name}_out" / "audit.json").read_bytes())

    def page(self, name: str) -> str:
        return (self.root / f"{name}_out" / "audit.html").read_text()


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """Both folders, looked at once."""
    made = Audited(tmp_path_factory.mktemp("audit"))
    write_clean(made.root / "clean")
    write_faulty(made.root / "faulty")
    assert [main(made.words(name)) for name in ("clean", "faulty")] == [0, 0]
    return made


def test_every_planted_fault_is_found_and_nothing_else(audited: Audited) -> None:
    found = {each.file_name: {fault.kind for fault in each.faults} for each in audited.report("faulty").images}
    assert found == FAULTS
    assert set(audited.report("faulty").look_at) == {name for name, faults in FAULTS.items() if faults}


def test_a_clean_folder_has_none(audited: Audited) -> None:
    report = audited.report("clean")
    assert (report.num_images, report.look_at, report.metadata, report.duplicates, report.near_duplicates) == (3, (), (), (), ())
    assert all(finding.num_images == 0 for finding in report.findings) and report.passed and report.limits == ()


def test_reasons_name_the_value_and_the_other_file(audited: Audited) -> None:
    reasons = {each.file_name: " ".join(fault.reason for fault in each.faults) for each in audited.report("faulty").images}
    for name, part in (("copy.png", "same bytes as fine.png"), ("near.jpg", "differ from fine.png"), ("short.png", "2 word(s)"),
                       ("small.png", "300 x 300: a view of 512 px enlarges it 1.71"), ("long.png", "of which 300 are read"), ("empty.png", "no text"), ("unlisted.png", "no usable line"),
                       ("bomb.png", "9000x9000"), ("text.jpg", "cannot be decoded"), ("truncated.png", "truncated")):
        assert part in reasons[name], name
    assert str(audited.root) not in json.dumps(reasons)


def test_a_damaged_hand_is_shown_from_near_with_its_keypoints(audited: Audited) -> None:
    report, page = audited.report("faulty"), audited.page("faulty")
    fault = next(each for each in report.images if each.file_name == "damaged.png").faults[0]
    whole, damaged = (next(each for each in report.images if each.file_name == name).hand_plausibility for name in ("unlisted.png", "damaged.png"))
    assert fault.reason.startswith(f"hand {fault.part + 1} of 2: plausibility 0.0") and damaged[fault.part] < 0.2 < min(whole)
    assert page.count("<figcaption>hand</figcaption>") == 1 and 'class="finger1"' in page


def test_lines_without_an_image_are_named_with_their_number(audited: Audited) -> None:
    lines = {each.line: each for each in audited.report("faulty").metadata}
    assert 'no image "gone.png"' in lines[15].message and lines[15].caption == "a <b>man</b> who is not there"
    assert "not JSON" in lines[16].message and set(lines) == {15, 16}


def test_faces_are_found_and_perceived_groups_are_told_of_the_whole_only(audited: Audited) -> None:
    document = audited.report("faulty").model_dump(mode="json")
    assert all(image["num_faces"] == 1 for image in document["images"] if "unreadable" not in {fault["kind"] for fault in image["faults"]})
    for each in document["perceived"]:
        assert sum(each["counts"]) + each["num_undetermined"] == document["num_readable"] == 12
    classes = {name for perceived in ATTRIBUTES.values() for name in perceived.classes}
    facts = [{key: value for key, value in image.items() if key not in ("caption", "file_name")} for image in document["images"]]
    assert not any(f'"{name}"' in json.dumps(facts) for name in classes | set(ATTRIBUTES))
    assert {each["name"]: sum(each["counts"]) for each in document["varieties"]}["expression"] == 12


def test_limits_are_exit_codes(audited: Audited, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """All limits at their strictest hold in the clean folder; the faulty one breaks those of what was planted in it."""
    assert main(audited.words("clean", *NOTHING_WRONG, "--limit=min_images=3", "--json")) == 0
    assert json.loads(capfd.readouterr().out)["passed"] is True
    assert main(audited.words("clean", "--limit=min_images=4")) == 1
    assert main(audited.words("clean", "--limit=gender=feminine=0.9")) == 1
    (tmp_path / "limits.toml").write_text('[limit]\nmax_blurred = 0.0\n[[limit.group]]\ngroup = "gender=feminine"\nmin_share = 0.5\nmax_share = 0.9\n')
    assert main(audited.words("clean", "--limits", str(tmp_path / "limits.toml"))) == 0
    assert main(audited.words("faulty", "--limits", str(tmp_path / "limits.toml"))) == 1
    capfd.readouterr()
    assert main(audited.words("faulty", *NOTHING_WRONG, "--json")) == 1
    document = json.loads(capfd.readouterr().out)
    broken = {each["name"] for each in document["limits"] if not each["held"]}
    planted = {f"max_{kind}" for kinds in FAULTS.values() for kind in kinds} - {"max_below_resolution"}
    assert broken == planted | {"min_share_at_resolution", "max_captions_without_image", "max_bad_lines"}


def test_what_is_no_fault_any_more_is_not_reported(audited: Audited, tmp_path: Path) -> None:
    (tmp_path / "limits.toml").write_text("[limit]\nmax_blurred = 0.0\nmax_compressed = 0.0\n[fault]\nmin_sharpness = -20.0\nmax_blockiness = 20.0\n")
    assert main([*audited.words("faulty", "--limits", str(tmp_path / "limits.toml")), "--out", str(tmp_path / "out")]) == 0


def test_a_second_audit_looks_at_nothing_and_says_the_same(audited: Audited) -> None:
    def features() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (audited.root / "store" / "features").rglob("*.safetensors")}

    before, first = features(), audited.report("clean")
    assert main(audited.words("clean")) == 0
    again = audited.report("clean")
    assert features() == before and len(before) > 50
    assert first.model_copy(update={"provenance": again.provenance, "limits": again.limits, "passed": again.passed}) == again


def test_a_folder_without_metadata_is_looked_at_all_the_same(audited: Audited) -> None:
    (audited.root / "bare").mkdir()
    (audited.root / "bare" / "P001.png").write_bytes((audited.root / "clean" / "P001.png").read_bytes())
    assert main(audited.words("bare", "--limit=max_missing_captions=0")) == 1
    report = audited.report("bare")
    assert [fault.kind for fault in report.images[0].faults] == ["missing_captions"] and report.images[0].num_faces == 1
    assert "no metadata.jsonl" in report.metadata[0].message


def test_the_page_shows_every_fault_and_runs_and_asks_for_nothing(audited: Audited) -> None:
    page = audited.page("faulty")
    assert "<script" not in page and "<img src=x" not in page and "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert "&lt;img src=x onerror=alert(1)&gt;.png" not in page  # it has no fault, so it is not shown
    assert "&lt;b&gt;man&lt;/b&gt;" in page and "default-src 'none'" in html.unescape(page)
    assert all(KINDS[kind].title in page for kinds in FAULTS.values() for kind in kinds)
    assert page.count("data:image/webp;base64,") >= 9


def test_a_hostile_name_and_caption_are_text(audited: Audited) -> None:
    (audited.root / "hostile").mkdir()
    (audited.root / "hostile" / HOSTILE_NAME).write_bytes((audited.root / "faulty" / "small.png").read_bytes())
    (audited.root / "hostile" / "metadata.jsonl").write_text(json.dumps({"file_name": HOSTILE_NAME, "text": HOSTILE_CAPTION}))
    assert main(audited.words("hostile")) == 0
    page = audited.page("hostile")
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in page and "&lt;script&gt;alert(" in page
    assert "<img src=x" not in page and "<script" not in page and "\u202e" not in page


def test_a_mirrored_photograph_looks_and_is_lit_the_other_way_and_is_else_the_same() -> None:
    extractors = {name: EXTRACTORS.get(name).make("cpu") for name in in_order(["light"])}

    def classes(image: Image.Image) -> list[str | None]:
        known = read(extractors, image)
        return [variety.RESPECTS[name].classify(known, image.size) for name in ("framing", "pose", "expression", "brightness", "head_angle", "light_side")]

    posture, selfie = (photograph("P001", kind, 1024) for kind in ("amateur_posture", "amateur_selfie"))
    found = [classes(image) for image in (posture, ImageOps.mirror(posture), selfie)]
    for each in extractors.values():
        each.close()
    assert found[0] == ["whole body", "arms down, legs straight", "calm", "medium", "to the right", "from the right"]
    assert found[1] == ["whole body", "arms down, legs straight", "calm", "medium", "to the left", "from the left"]
    assert found[2][2:] == ["smiling", "medium", "to the camera", "from the right"]
