"""history.html in a real browser: no script, no request, charts that tell their values, light and dark, narrow and wide."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from sana_bench.history.collect import collect
from sana_bench.history.html import render_history
from sana_bench.history.series import make_history
from tests.history_fixture import NUM_PROMPTS, commit, prompt_scores, run_bundle, write_run
from tests.report_fixture import HOSTILE

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH nor in $CHROMIUM (apt-get install chromium)")


@pytest.fixture(scope="module")
def page_path(tmp_path_factory) -> Path:
    place, rng = tmp_path_factory.mktemp("history"), np.random.default_rng(0)
    hands_P = rng.uniform(0.3, 0.9, NUM_PROMPTS)
    for at in range(16):
        write_run(place / f"run{at}", run_bundle(at, {"hand_plausibility": prompt_scores(rng, hands_P, 0.05, -0.2 * (at >= 9)), "face_rate": [1.0, 0.5] * 12},
                                                 {"face_rate": {"version": 1 + (at > 4), "unit": HOSTILE}}, name=HOSTILE))
    found = collect([place])
    (place / "history.html").write_text(render_history(make_history(found.rows, [f"run99/{HOSTILE}"])))
    return place / "history.html"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 390)])
def test_the_page_stands_alone(page_path: Path, scheme: str, width: int):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, troubles = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900}), []
        page.set_default_timeout(120_000)
        page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda message: troubles.append(message.text) if message.type in ("error", "warning") else None)
        page.on("request", lambda request: request.url.startswith("file:") or troubles.append(request.url))
        page.goto(page_path.as_uri())
        assert page.locator("figure").count() == 2 and page.locator("script, img").count() == 0
        hands = page.locator("figure", has_text="hand_plausibility")
        assert hands.locator("circle title").nth(9).text_content().startswith(commit(9)[:7])
        assert hands.locator("g.bad line.step").count() == 1 and hands.locator("polygon.band").count() == 1
        faces = page.locator("figure", has_text="face_rate")
        assert faces.locator("polyline.values").count() == 2 and faces.locator("line.step").count() == 0
        assert page.locator("#changes tbody tr").count() == 1 and HOSTILE in page.locator("#left-out li").inner_text()
        ink, card = (page.evaluate(f"getComputedStyle(document.querySelector('{where}')).{what}") for where, what in (("body", "color"), ("figure", "backgroundColor")))
        brightness = [sum(map(int, color.strip("rgb()").split(","))) for color in (ink, card)]
        assert (brightness[0] < brightness[1]) == (scheme == "light")
        assert page.evaluate("getComputedStyle(document.querySelector('.band')).opacity") == "0.18"  # the style passes the policy
        assert page.evaluate("document.documentElement.scrollWidth") == width
        browser.close()
        assert troubles == []
