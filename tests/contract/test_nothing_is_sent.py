"""Nothing that we run reports usage: no telemetry in the libraries we pin, none from ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mediapipe


def test_the_pinned_mediapipe_has_no_usage_reporting():
    """Releases after 0.10.32 carry an uploader and its address in their native library, and no switch to turn it off."""
    libraries = list(Path(mediapipe.__file__).parent.rglob("*.so"))
    assert libraries
    for library in libraries:
        content = library.read_bytes()
        assert b"clearcut" not in content and b"play.googleapis" not in content, library.name


def test_the_hubs_telemetry_is_off_once_we_are_imported():
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_DISABLE_TELEMETRY"}
    code = "import sana_bench, huggingface_hub.constants as c; print(c.HF_HUB_DISABLE_TELEMETRY)"
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).strip() == "True"
