"""The report in a real browser: it stands without scripts, asks for nothing outside, and can be worked by keyboard alone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from sana_bench.cards import cards
from sana_bench.report import write_report
from tests.report_fixture import HOSTILE, make_run, make_suite

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_MS = 120_000
"""A loaded machine is slow and no failure."""
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH nor in $CHROMIUM (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report_path(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("report")
    report, candidate, baseline = make_run(root, make_suite(15, lambda index: HOSTILE if index == 2 else f"person {index}"), guard=True)
    (candidate / "cards.json").write_text(json.dumps([card.model_dump(mode="json") for card in cards(("hand_rate", "face_rate"))]))
    return write_report(root / "run", report, candidate, baseline)


@pytest.fixture
def page(browser, report_path):
    """The open report; at the end of the test it must have raised no error, shown no dialog and requested nothing."""
    page, troubles = browser.new_page(), []
    page.set_default_timeout(PATIENCE_MS)
    page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or troubles.append(request.url))
    page.goto(report_path.as_uri())
    yield page
    page.close()
    assert troubles == []


def current(page) -> str:
    return page.locator("#viewer-id").inner_text()


def test_verdict_table_and_worst_pairs_stand_without_scripts(browser, report_path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(report_path.as_uri())
    assert page.locator("#verdict h1").is_visible()
    assert page.locator("#metrics table.metrics tbody tr").count() == page.locator("#guard table.metrics tbody tr").count() == 7
    worst = page.locator("#worst article.worst").first
    assert worst.locator("img").count() == 2 and worst.locator(".keypoints").first.is_visible()
    page.locator("#keypoints").uncheck()
    assert worst.locator(".keypoints").first.is_hidden()
    assert page.locator("button.open").first.is_hidden() and page.locator("#filters").is_hidden()
    context.close()


def test_hostile_prompt_is_text_in_page_and_viewer(page):
    assert page.locator("img[src=x]").count() == 0
    page.goto(page.url.partition("#")[0] + "#pair=p2_0&mode=side")
    page.wait_for_selector("#viewer[open]")
    assert page.locator("#viewer-title").inner_text() == HOSTILE
    assert page.locator("img[src=x]").count() == 0 and page.locator("script").count() == 1


def test_style_and_script_pass_the_policy_and_every_picture_decodes(page):
    assert page.evaluate("getComputedStyle(document.querySelector('.frame')).position") == "relative"
    assert page.evaluate("Promise.all([...document.images].map(i => i.decode())).then(() => document.images.length)") >= 40


def test_arrows_modes_space_and_escape(page):
    page.locator("article.worst button.open").first.click()
    stage, first = page.locator("#stage"), current(page)
    page.keyboard.press("ArrowRight")
    assert current(page) != first
    page.keyboard.press("ArrowLeft")
    assert current(page) == first
    for key, mode in zip("2341", ("slider", "onion", "flip", "side"), strict=True):
        page.keyboard.press(key)
        assert stage.get_attribute("data-mode") == mode
        page.wait_for_url(lambda url, mode=mode: f"mode={mode}" in url)  # the browser tells of its address later than of its page
    page.keyboard.press("Space")
    assert stage.get_attribute("data-mode") == "flip" and stage.get_attribute("data-front") == "baseline"
    assert page.locator("#stage [data-side=candidate]").is_hidden()
    assert page.locator("#stage [data-side=baseline]").is_visible()
    page.keyboard.press("z")
    assert stage.get_attribute("data-zoom") == "on"
    page.keyboard.press("k")
    assert page.locator("#stage .keypoints").first.is_hidden()
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer", state="hidden")
    page.wait_for_url(lambda url: "pair=" not in url)


def test_slider_moves_the_divider(page):
    page.goto(page.url + "#pair=p0_0&mode=slider")
    page.locator("#mix").fill("25")
    clip = page.evaluate("getComputedStyle(document.querySelector('#stage [data-side=candidate] .frame')).clipPath")
    assert "25%" in clip


def test_a_link_opens_its_pair_and_back_closes_it(page):
    page.locator(".prompts a").nth(3).click()
    page.wait_for_selector("#viewer[open]")
    assert current(page) == "p3_0"
    page.go_back()
    page.wait_for_selector("#viewer", state="hidden")


def test_shortcuts_can_be_switched_off(page):
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    page.locator("#shortcuts").uncheck()
    page.keyboard.press("?")
    assert page.locator("#help").is_hidden()


def test_filter_and_sort(page):
    shown = page.locator(".card:not([hidden])")
    assert shown.first.get_attribute("data-id") == "p0_0"
    page.locator("#filter-tag").select_option("hands")
    assert shown.count() == 7
    page.locator("#filter-metric").select_option(label="hand_rate")
    page.locator("#filter-outcome").select_option("unscored")
    assert [card.get_attribute("data-id") for card in shown.all()] == ["p9_0"]
    page.locator("#filters button[type=reset]").click()
    page.wait_for_function("document.querySelector('#shown').textContent === '15 of 15'")
    page.locator("#filter-text").fill("person 14")
    assert shown.count() == 1


def test_every_control_is_reached_by_tab(page):
    for opener in (None, "article.worst button.open"):
        if opener:
            page.locator(opener).first.click()
            page.keyboard.press("2")
        scope = "#viewer" if opener else "body"
        page.evaluate("""scope => { window.missed = new Set([...document.querySelectorAll(
            `${scope} :is(a, button, input, select, summary)`)].filter(e => e.checkVisibility() && !e.disabled)) }
            """, scope)
        total = page.evaluate("missed.size")
        assert total > 5
        for _ in range(2 * total):
            page.keyboard.press("Tab")
            page.evaluate("missed.delete(document.activeElement)")
        assert page.evaluate("[...missed].map(e => e.outerHTML.slice(0, 80))") == []


@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_is_wider_than_the_window(browser, report_path, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(PATIENCE_MS)
    page.goto(report_path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()
