"""MediaPipe bundles: what is written reads back with MediaPipe's own schema classes, and the real ones find a person."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from sana_bench.assets import asset_path
from sana_bench.assets.mediapipe_bundles import (HAND_LANDMARKS, PALM_DETECTOR, POSE_DETECTOR, POSE_LANDMARKS,
                                                 with_image_metadata, write_hand_bundle, write_pose_bundle)

WEIGHTS = [np.arange(100, dtype=np.uint8), np.arange(37, dtype=np.uint8)[::-1].copy()]


def tflite_model() -> bytes:
    """A TFLite model of buffers, an operator code, a subgraph and a metadata entry, packed by the schema's own classes."""
    import flatbuffers
    from mediapipe.tasks.metadata import schema_py_generated as schema

    model = schema.ModelT()
    model.version, model.description = 3, "toy"
    model.operatorCodes, model.subgraphs = [schema.OperatorCodeT()], [schema.SubGraphT()]
    model.subgraphs[0].name = "main"
    model.buffers = [schema.BufferT() for _ in range(3)]
    for buffer, data in zip(model.buffers[1:], WEIGHTS, strict=True):
        buffer.data = data
    entry = schema.MetadataT()
    entry.name, entry.buffer = "min_runtime_version", 2
    model.metadata, model.metadataBuffer = [entry], [2]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_metadata_is_added_and_nothing_else_changes() -> None:
    from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema
    from mediapipe.tasks.metadata import schema_py_generated as schema

    data = with_image_metadata(tflite_model(), mean=3.0, std=255.0)
    assert data[4:8] == b"TFL3"
    model = schema.ModelT.InitFromPackedBuf(bytearray(data))
    assert (model.version, model.description, len(model.operatorCodes)) == (3, b"toy", 1)
    assert [graph.name for graph in model.subgraphs] == [b"main"]
    assert model.buffers[0].data is None and list(model.metadataBuffer) == [2]
    for buffer, weights in zip(model.buffers[1:3], WEIGHTS, strict=True):
        np.testing.assert_array_equal(buffer.data, weights)
    assert [(entry.name, entry.buffer) for entry in model.metadata] == [(b"min_runtime_version", 2), (b"TFLITE_METADATA", 3)]

    content = metadata_schema.ModelMetadataT.InitFromPackedBuf(bytearray(model.buffers[3].data.tobytes()))
    image = content.subgraphMetadata[0].inputTensorMetadata[0]
    assert image.content.contentPropertiesType == metadata_schema.ContentProperties.ImageProperties
    assert image.content.contentProperties.colorSpace == metadata_schema.ColorSpaceType.RGB
    assert image.processUnits[0].optionsType == metadata_schema.ProcessUnitOptions.NormalizationOptions
    assert (list(image.processUnits[0].options.mean), list(image.processUnits[0].options.std)) == ([3.0], [255.0])


@pytest.mark.parametrize("length", [0, 1, 7, 15])
def test_old_bytes_stay_aligned_whatever_their_length(length: int) -> None:
    model = tflite_model() + bytes(range(1, length + 1))
    assert with_image_metadata(model, mean=0.0, std=255.0).index(model) % 16 == 0


def test_bundles_are_the_same_bytes_each_time_and_hold_aligned_models(tmp_path: Path) -> None:
    for number, member in enumerate((PALM_DETECTOR, HAND_LANDMARKS, POSE_DETECTOR, POSE_LANDMARKS)):
        (tmp_path / member).parent.mkdir(exist_ok=True)
        (tmp_path / member).write_bytes(tflite_model() + bytes(number))
    for write in (write_hand_bundle, write_pose_bundle):
        write(tmp_path, tmp_path / "first.task")
        write(tmp_path, tmp_path / "second.task")
        data = (tmp_path / "first.task").read_bytes()
        assert (tmp_path / "second.task").read_bytes() == data
        with zipfile.ZipFile(tmp_path / "first.task") as archive:
            assert archive.testzip() is None
            assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
            assert all(data.index(archive.read(info)) % 16 == 0 for info in archive.infolist())
    with zipfile.ZipFile(tmp_path / "first.task") as archive:
        assert archive.namelist() == ["pose_detector.tflite", "pose_landmarks_detector.tflite"]
        assert archive.read("pose_detector.tflite") == (tmp_path / POSE_DETECTOR).read_bytes()


@pytest.mark.weights
def test_the_real_bundles_find_a_person_where_she_stands() -> None:
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    def detect(kind: str, asset: str, picture: str):
        image = mediapipe.Image.create_from_file(str(asset_path("openpeople") / f"curated/P002/assets/{picture}.jpg"))
        base = BaseOptions(model_asset_path=str(asset_path(asset)))
        options = getattr(vision, f"{kind}LandmarkerOptions")(base_options=base, **{f"num_{kind.lower()}s": 2})
        with getattr(vision, f"{kind}Landmarker").create_from_options(options) as landmarker:
            return landmarker.detect(image)

    pose, = detect("Pose", "mediapipe_pose", "studio_posture").pose_landmarks
    nose, wrists, ankles = pose[0], pose[15:17], pose[27:29]
    assert 0.05 < nose.y < 0.2 and all(0.45 < wrist.y < 0.6 for wrist in wrists) and all(ankle.y > 0.8 for ankle in ankles)
    hands = detect("Hand", "mediapipe_hand", "studio_posture").hand_landmarks
    assert len(hands) == 2
    for hand in hands:
        nearest = min(abs(hand[0].x - wrist.x) + abs(hand[0].y - wrist.y) for wrist in wrists)
        assert nearest < 0.05, "the wrist of a found hand is a wrist of the found pose"
    face, = detect("Face", "mediapipe_face", "studio_portrait").face_landmarks
    nose, chin, left_eye, right_eye = face[1], face[152], face[33], face[263]
    assert left_eye.x < nose.x < right_eye.x and max(left_eye.y, right_eye.y) < nose.y < chin.y
