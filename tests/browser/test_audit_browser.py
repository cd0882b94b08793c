"""The audit's page in a real browser: it stands without scripts, asks for nothing outside, and what names and captions say is text."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sana_bench.audit.captions import TokenCounter
from sana_bench.audit.folder import AuditFolder, Entry, MetadataProblem
from sana_bench.audit.looks import Look, Seen
from sana_bench.audit.rules import load_rules
from sana_bench.audit.run import make_report, write_report
from sana_bench.audit.variety import RESPECTS
from sana_bench.data.manifest import Row
from sana_bench.metrics import Unscored
from sana_bench.metrics.perceived import ATTRIBUTES
from tests.audit_folders import HOSTILE_CAPTION, HOSTILE_NAME

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_MS = 120_000
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH nor in $CHROMIUM (apt-get install chromium)")


def looked_at(folder: Path, number: int, name: str) -> Look:
    """A grey image with an implausible hand, of a hostile name."""
    Image.new("RGB", (400, 600), (90, 90, number)).save(folder / name)
    points = np.linspace((100, 200), (180, 330), 21, dtype=np.float32)
    features = {"pose": {"keypoints": np.zeros((0, 33, 3), np.float32)}, "hands": {"keypoints": points[None]},
                "faces": {"keypoints": np.zeros((0, 478, 2), np.float32)}}
    seen = Seen(sharpness=-7.0, blockiness=1.1, luminance=90.0, bits_4=np.full(4, 2**number, np.uint64), plausibility={"face": (), "hand": (0.05,)},
                face_px=None, yaw=None, classes={respect: each.classes[0] for respect, each in RESPECTS.items()},
                perceived=dict.fromkeys(ATTRIBUTES, Unscored("no face found")))
    row = Row(file_name=name, text=HOSTILE_CAPTION)
    return Look(Entry(row, folder / name, True), f"{number}", (400, 600), 3.4, seen=seen, features=features)


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("audit")
    looks = [looked_at(root, number, f"{number}{HOSTILE_NAME}") for number in range(3)]
    folder = AuditFolder(HOSTILE_NAME, root, tuple(look.entry for look in looks), (MetadataProblem(7, HOSTILE_NAME, HOSTILE_CAPTION, True),))
    report = make_report(folder, looks, load_rules(None, ["max_blurred=0.1", "min_images=2"]), 2048, TokenCounter(len, "tokens are characters"), 300, "cpu")
    return write_report(report, looks, root / "out") / "audit.html"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_the_page_stands_and_asks_for_nothing(browser, page_path: Path) -> None:
    page, troubles = browser.new_page(), []
    page.set_default_timeout(PATIENCE_MS)
    page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: troubles.append(message.text))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or troubles.append(request.url))
    page.goto(page_path.as_uri())
    assert page.evaluate("Promise.all([...document.images].map(i => i.decode())).then(() => document.images.length)") >= 6  # whole and hand of each
    assert page.locator("img[src=x]").count() == page.locator("script").count() == 0
    assert page.locator("#look-at article").count() == 3 and "alert('x')" in page.locator("#look-at").inner_text()
    assert "1 of 2 limits broken" in page.locator("#verdict").inner_text().lower()
    keypoints = page.locator("#look-at .keypoints").first
    assert keypoints.is_visible() and page.locator("#look-at .keypoints path").count() > 0
    page.locator("#keypoints").uncheck()
    assert keypoints.is_hidden()
    assert troubles == []
    page.close()


@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_is_wider_than_the_window(browser, page_path: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(page_path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()
