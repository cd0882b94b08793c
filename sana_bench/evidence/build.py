"""Build the evidence: material, networks, calibration, real bodies; seeded, resumable, from the training people only.

    material -> twin network (without the calibration people) -> calibration -> network (all training people)

Everything is kept in the work folder as it goes, so that the same command goes on after a kill.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from sana_bench.data.manifest import Manifest, Row, load_manifest, picture_view
from sana_bench.data.openpeople import FULL_BODIES
from sana_bench.errors import ConfigError
from sana_bench.evidence import FOLDER, calibration_file
from sana_bench.evidence.bodies import bodies_document, fit_bodies
from sana_bench.evidence.material import MATERIAL_VERSION, Detector, Example, Take, examples_of, learned_kinds, take_of
from sana_bench.evidence.plausibility import PARTS, calibration_document, fit_calibration, parts_of
from sana_bench.extract import in_order
from sana_bench.features import EXTRACTORS, View
from sana_bench.features.proportions import body_measures
from sana_bench.features.upright_view import FACE, HAND, Part
from sana_bench.locks import locked
from sana_bench.progress import progress
from sana_bench.registry import near_names
from sana_bench.split import CALIBRATION_PEOPLE
from sana_bench.store import Store, digest_of, write_bytes

SIDE_PX = 2048
KINDS = {"hand": HAND, "face": FACE}
PARTS_TO_BUILD = (*KINDS, "body")
STEPS = {"hand": 1600, "face": 600}
TWIN_SHARE = 0.6
"""Length of the twin's training: it only has to make the evidence that the weights are fitted to."""
LEAST_DOSE = 2
"""Damage from this dose on has to be told from whole photographs in the calibration; less is hardly visible."""


def build_evidence(work_folder: Path, out_folder: Path | None = None, parts: tuple[str, ...] = (), steps: int | None = None) -> None:
    """Train and calibrate the given parts (`hand`, `face`, `body`; all where none is named).

    Args:
        work_folder: material and training states; may be deleted afterwards.
        out_folder: receives `<part>.json`, and `<part>.safetensors` of the networks; the package's own folder by default.
        steps: length of the trainings instead of the usual one.

    Raises:
        ConfigError: an unknown part, or no steps.
    """
    unknown = [name for name in parts if name not in PARTS_TO_BUILD]
    if unknown:
        raise ConfigError(f'unknown part "{unknown[0]}".{near_names(unknown[0], list(PARTS_TO_BUILD))} Parts: {", ".join(PARTS_TO_BUILD)}')
    if steps is not None and steps <= 0:
        raise ConfigError(f"--steps ({steps}) must be above 0")
    with locked(work_folder / "build.lock", f"a build in {work_folder}"):
        for name in parts or PARTS_TO_BUILD:
            if name == "body":
                _build_bodies(work_folder, out_folder or FOLDER)
            else:
                _build_part(KINDS[name], work_folder, out_folder or FOLDER, steps or STEPS[name])


def _build_bodies(work: Path, out: Path) -> None:
    manifest = load_manifest("openpeople:training", Store(work / "store"))
    rows = [row for row in manifest.rows if row.kind in FULL_BODIES]
    with closing(EXTRACTORS.get("pose").make("cpu")) as pose, closing(EXTRACTORS.get("hands").make("cpu")) as hands, \
            progress("real bodies", len(rows)) as tracker:
        measures, people = [], list[str]()
        for row in rows:
            view = View(picture_view(manifest, row, (SIDE_PX, SIDE_PX)), row.text)
            known = {"pose": pose.extract(view, {})}
            found = body_measures(known["pose"], hands.extract(view, known))
            measures, people = [*measures, found], [*people, *[row.person] * len(found)]
            tracker.advance()
    write_bytes(calibration_file("body", out), bodies_document(fit_bodies(np.concatenate(measures), people), people).encode())


def _build_part(part: Part, work: Path, out: Path, steps: int) -> None:
    from sana_bench.evidence.network import save_network
    from sana_bench.evidence.training import train_network

    manifest = load_manifest("openpeople:training", Store(work / "store"))
    examples = make_material(part, manifest, work)
    taught = [example for example in examples if example.person not in CALIBRATION_PEOPLE]
    kept = [example for example in examples if example.person in CALIBRATION_PEOPLE]
    identity = [part.name, MATERIAL_VERSION, manifest.digest, learned_kinds(part)]
    twin, _ = train_network(part, taught, work / f"{part.name}_twin", total_steps=round(TWIN_SHARE * steps),
                            identity=digest_of([*identity, "twin", steps]))
    document = calibrate(part, twin, taught, kept)
    network, losses = train_network(part, examples, work / f"{part.name}_network", total_steps=steps, identity=digest_of([*identity, steps]))
    save_network(network, part, out)
    write_bytes(calibration_file(part.name, out), document.encode())
    print(f"{part.name}: loss {np.mean(losses[-50:]):.3f} over the last 50 of {steps} steps")


def make_material(part: Part, manifest: Manifest, work: Path) -> list[Example]:
    """Examples of every photograph, one file a photograph, which is not made again."""
    folder = work / f"{part.name}_material_{digest_of([MATERIAL_VERSION, manifest.digest, learned_kinds(part)])}"
    paths = [folder / f"{row.file_name}.npz" for row in manifest.rows]
    missing = [(row, path) for row, path in zip(manifest.rows, paths, strict=True) if not path.exists()]
    if missing:
        extractors = {name: EXTRACTORS.get(name).make("cpu") for name in in_order([f"{part.name}s"])}
        with closing(Detector(part)) as detector, progress(f"{part.name} material", len(paths), len(paths) - len(missing)) as tracker:
            for row, path in missing:
                found = [example for seed, take in enumerate(_takes(part, manifest, row, extractors))
                         for example in examples_of(take, part, detector, int(digest_of([row.file_name, seed]), 16))]
                _write_examples(path, found)
                tracker.advance(f"{len(found)} views of {row.file_name}")
        for extractor in extractors.values():
            extractor.close()
    return [example for row, path in zip(manifest.rows, paths, strict=True) for example in _read_examples(path, row.person)]


def _takes(part: Part, manifest: Manifest, row: Row, extractors: dict) -> Iterator[Take]:
    view, known = View(picture_view(manifest, row, (SIDE_PX, SIDE_PX)), row.text), {}
    for name, extractor in extractors.items():
        known[name] = extractor.extract(view, known)
    found = known[f"{part.name}s"]
    for index, points_N2 in enumerate(found["keypoints"]):
        yield take_of(row.person, view.pixels_HW3, points_N2, part is HAND and found["side"][index] == 0)


def _write_examples(path: Path, examples: list[Example]) -> None:
    buffer = io.BytesIO()
    fields = {name: np.array([getattr(example, name) for example in examples]) for name in ("view", "damage", "points_N3", "dose")}
    np.savez(buffer, **fields)
    write_bytes(path, buffer.getvalue())


def _read_examples(path: Path, person: str) -> list[Example]:
    with np.load(path) as arrays:
        rows = [arrays[name] for name in ("view", "damage", "points_N3", "dose")]
    return [Example(view, damage, points, int(dose), person) for view, damage, points, dose in zip(*rows, strict=True)]


def calibrate(part: Part, twin, taught: list[Example], kept: list[Example]) -> str:
    """The calibration's document: shapes of the people taught, weights fitted on those kept."""
    from sana_bench.features.evidence import EvidenceReader

    shape = fit_part_shapes(part, [example for example in taught if example.dose == 0])
    chosen = [example for example in kept if example.dose == 0 or example.dose >= LEAST_DOSE]
    with closing(EvidenceReader(part, "cpu", twin)) as reader, progress(f"{part.name} calibration", len(chosen)) as tracker:
        rows = []
        for example in chosen:
            evidence = reader.read_views([example.view], [example.points_N3[:, :2].astype(np.float64)])
            rows.append(parts_of(part.name, shape, _as_features(part, [example]), evidence)[0])
            tracker.advance()
    whole = np.array([example.dose == 0 for example in chosen])
    calibration = fit_calibration(part.name, shape, np.array(rows), whole)
    plausibility = calibration.plausibility(np.array(rows))
    facts = {"people": {"network": sorted({example.person for example in [*taught, *kept]}),
                        "shapes": sorted({example.person for example in taught}), "weights": list(CALIBRATION_PEOPLE)},
             "views": {"whole": int(whole.sum()), "damaged": int((~whole).sum())},
             "mean plausibility": {"whole": round(float(plausibility[whole].mean()), 3), "damaged": round(float(plausibility[~whole].mean()), 3)}}
    print({**facts, **dict(zip(PARTS[part.name], calibration.weight_K.round(2).tolist(), strict=True))})
    return calibration_document(calibration, facts)


def fit_part_shapes(part: Part, whole: list[Example]):
    """Real shapes of a part, of every person as many: they are too few for as many of every group."""
    from sana_bench.features.proportions import bone_ratios, face_points, face_ratios, is_facing
    from sana_bench.shape import fit_shapes

    keypoints = _as_features(part, whole)
    people = np.array([example.person for example in whole])
    if part is HAND:
        ratios = bone_ratios(keypoints["keypoints"])
    else:
        points = face_points(keypoints)
        ratios, people = face_ratios(points[is_facing(points)]), people[is_facing(points)]
    fewest = min(int((people == name).sum()) for name in set(people))
    draw = np.random.default_rng(0)
    even = np.concatenate([draw.permutation(np.flatnonzero(people == name))[:fewest] for name in sorted(set(people))])
    return fit_shapes(ratios[even], list(people[even]), minimum=fewest, what=f"{part.name}(s)")


def _as_features(part: Part, examples: list[Example]) -> dict[str, np.ndarray]:
    points = np.array([example.points_N3 for example in examples])
    return {"keypoints": points[..., :2], "depth": points[..., 2]}
