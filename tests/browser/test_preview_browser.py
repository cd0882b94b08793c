"""preview.html in a real browser: no script, no request, boxes and weights where the picture is, narrow and wide."""

from __future__ import annotations

import io
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sana_bench.config import load_config
from sana_bench.data.samples import Draw, People, Region
from sana_bench.data.training_set import training_set
from sana_bench.preview.html import render_preview
from sana_bench.preview.tiles import StagePreview, make_tile
from sana_bench.store import Store
from tests.report_fixture import HOSTILE

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH nor in $CHROMIUM (apt-get install chromium)")

FACE = (32, 64, 96, 160)


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    """One grey view of 128 x 256 with a white face."""
    folder = tmp_path_factory.mktemp("preview")
    image = Image.new("RGB", (128, 256), (90, 90, 90))
    image.paste("white", FACE)
    image.save(folder / "a.png")
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "a.png", "text": HOSTILE}))
    settings = (f"data.training={folder}", f"run.store={folder / 'store'}")
    config, unseen = load_config("tiny", (*settings, "train.regions.face_weight=5")), load_config("tiny", settings)
    images = training_set(unseen, Store(unseen.run.store))  # nobody is looked for; the face is put in below
    picture = replace(images.pictures[0], people=People(regions=(Region(kind="face", box=FACE),)))
    tile = make_tile(picture, Draw(0, 0, 128, 256), config.train, 1, True)
    (folder / "preview.html").write_text(render_preview(config, [StagePreview(images.stages[0], (tile,))], images.shares))
    return folder / "preview.html"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 390)])
def test_the_page_stands_alone_and_shows_the_face_where_it_is(page_path, scheme, width):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, troubles = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900}), []
        page.set_default_timeout(120_000)
        page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None)
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or troubles.append(request.url))
        page.goto(page_path.as_uri())
        assert page.locator("script").count() == 0 and page.locator("del").inner_text() == HOSTILE.lower()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        pane, rect = (page.locator(where).bounding_box() for where in (".pane.seen", ".pane rect.face"))
        shown = Image.open(io.BytesIO(page.locator(".pane.seen").screenshot())).convert("RGB")
        browser.close()
    assert troubles == []
    scale = pane["height"] / 256
    left = (pane["width"] - 128 * scale) / 2
    expected = (left + FACE[0] * scale, FACE[1] * scale, left + FACE[2] * scale, FACE[3] * scale)
    told = (rect["x"] - pane["x"], rect["y"] - pane["y"], rect["x"] + rect["width"] - pane["x"], rect["y"] + rect["height"] - pane["y"])
    assert np.abs(np.subtract(told, expected)).max() < 2.5  # the line is two pixels wide
    middle, beside = (shown.getpixel((round(left + x * scale), round(y * scale))) for x, y in ((64, 112), (16, 112)))
    assert middle[0] > middle[1] + 60 and max(beside) - min(beside) < 6  # red over the face, grey beside it: weights and style pass the policy
