"""MediaPipe `.task` bundles put together from the TFLite models inside the mediapipe 0.10.21 wheel.

A `.task` bundle is an uncompressed zip of TFLite models under fixed names. The hand models and the pose detector carry the
TFLite metadata in which the Tasks API looks up how pixels become numbers; the pose landmark model does not, so it is added
here. The same inputs give the same bytes on every machine.

Source: TFLite `schema.fbs` (tables Model, Buffer, Metadata) and `metadata_schema.fbs` of the TFLite support library.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flatbuffers import Builder
    from flatbuffers.table import Table

PALM_DETECTOR = "palm_detection/palm_detection_full.tflite"
HAND_LANDMARKS = "hand_landmark/hand_landmark_full.tflite"
POSE_DETECTOR = "pose_detection/pose_detection.tflite"
POSE_LANDMARKS = "pose_landmark/pose_landmark_full.tflite"

MODEL_SLOTS = 8
BUFFERS, METADATA = 4, 6
"""Fields of TFLite's Model table. Field 0 is the schema version, a number; all others point at something."""

FIRST_FIELD = 4
"""Where field 0 stands in a flatbuffer vtable; each field takes 2 bytes."""

LENGTH_BYTES = 4
"""Size of the length before a flatbuffer vector's items, and of an offset."""

ALIGNMENT = 16
ZIPALIGN_FIELD = 0xD935


def write_hand_bundle(members: Path, bundle: Path) -> None:
    """Bundle for `HandLandmarker` from the two hand models under `members`."""
    _write_zip(bundle, {"hand_detector.tflite": (members / PALM_DETECTOR).read_bytes(),
                        "hand_landmarks_detector.tflite": (members / HAND_LANDMARKS).read_bytes()})


def write_pose_bundle(members: Path, bundle: Path) -> None:
    """Bundle for `PoseLandmarker` from the two pose models under `members`; the landmark model takes pixels as 0..1."""
    landmarks = with_image_metadata((members / POSE_LANDMARKS).read_bytes(), mean=0.0, std=255.0)
    _write_zip(bundle, {"pose_detector.tflite": (members / POSE_DETECTOR).read_bytes(),
                        "pose_landmarks_detector.tflite": landmarks})


def with_image_metadata(model: bytes, mean: float, std: float) -> bytes:
    """The TFLite model with metadata that says: the input is an RGB image, normalised as (pixel - mean) / std.

    The old bytes stay untouched behind a new root table that points into them, so weights keep their 16-byte alignment.

    Args:
        model: a TFLite flatbuffer without metadata of that name.
        mean: subtracted from pixel values 0..255.
        std: what the difference is divided by.
    """
    import flatbuffers
    from flatbuffers.number_types import Uint32Flags
    from flatbuffers.table import Table

    old = Table(model, int.from_bytes(model[:4], "little"))
    builder = flatbuffers.Builder(len(model) + 4096)
    builder.Prep(ALIGNMENT, len(model))
    start = builder.CreateByteVector(model) - LENGTH_BYTES
    fields = {slot: start - position for slot in range(1, MODEL_SLOTS) if (position := _pointed_at(old, slot)) is not None}
    buffers = [start - position for position in _items(old, BUFFERS)]
    metadata = [start - position for position in _items(old, METADATA)]

    content = _image_metadata(mean, std)
    builder.Prep(ALIGNMENT, len(content))
    new_buffer = _table(builder, {0: builder.CreateByteVector(content)})
    name = builder.CreateString("TFLITE_METADATA")
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(0, name, 0)
    builder.PrependUint32Slot(1, len(buffers), 0)
    new_metadata = builder.EndObject()
    fields[BUFFERS] = _vector(builder, [*buffers, new_buffer])
    fields[METADATA] = _vector(builder, [*metadata, new_metadata])

    builder.StartObject(MODEL_SLOTS)
    builder.PrependUint32Slot(0, old.GetSlot(FIRST_FIELD, 0, Uint32Flags), 0)
    for slot, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _pointed_at(table: Table, slot: int) -> int | None:
    """Position of what a field points at, or None where the field is absent."""
    offset = table.Offset(FIRST_FIELD + 2 * slot)
    return table.Indirect(table.Pos + offset) if offset else None


def _items(table: Table, slot: int) -> list[int]:
    """Positions of the items of a vector of tables; none where the field is absent."""
    vector = _pointed_at(table, slot)
    if vector is None:
        return []
    count = int.from_bytes(table.Bytes[vector:vector + LENGTH_BYTES], "little")
    return [table.Indirect(vector + LENGTH_BYTES * (1 + index)) for index in range(count)]


def _image_metadata(mean: float, std: float) -> bytes:
    """A ModelMetadata flatbuffer for one RGB input. Numbers are the field numbers of `metadata_schema.fbs`."""
    import flatbuffers

    builder = flatbuffers.Builder(512)
    normalisation = _table(builder, {0: _floats(builder, mean), 1: _floats(builder, std)})
    process_unit = _union(builder, kind=1, value=normalisation)
    builder.StartObject(2)
    builder.PrependInt8Slot(0, 1, 0)
    content = _union(builder, kind=2, value=builder.EndObject())
    tensor = _table(builder, {3: content, 4: _vector(builder, [process_unit])})
    subgraph = _table(builder, {2: _vector(builder, [tensor])})
    version = builder.CreateString("1.0.0")
    builder.Finish(_table(builder, {3: _vector(builder, [subgraph]), 7: version}), file_identifier=b"M001")
    return bytes(builder.Output())


def _table(builder: Builder, offsets: dict[int, int]) -> int:
    """A table whose fields all point at something; its offset."""
    builder.StartObject(max(offsets) + 1)
    for slot, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return builder.EndObject()


def _union(builder: Builder, kind: int, value: int) -> int:
    """A table whose only content is a union: its type in field 0, its value in field 1."""
    builder.StartObject(2)
    builder.PrependUint8Slot(0, kind, 0)
    builder.PrependUOffsetTRelativeSlot(1, value, 0)
    return builder.EndObject()


def _vector(builder: Builder, offsets: list[int]) -> int:
    """A vector of tables; flatbuffers are written from the end."""
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _floats(builder: Builder, value: float) -> int:
    builder.StartVector(4, 1, 4)
    builder.PrependFloat32(value)
    return builder.EndVector()


def _write_zip(path: Path, files: dict[str, bytes]) -> None:
    """An uncompressed zip without time, owner or platform in it, each file at a multiple of 16 bytes.

    MediaPipe maps the bundle into memory and runs the models from there, which wants their weights aligned. The padding is
    an extra field of the kind that Android's zipalign writes.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o644 << 16
            start = archive.fp.tell() + zipfile.sizeFileHeader + len(name) + 6
            padding = -start % ALIGNMENT
            info.extra = struct.pack("<HHH", ZIPALIGN_FIELD, 2 + padding, ALIGNMENT) + bytes(padding)
            archive.writestr(info, data)
