"""The report renders records: everything in them is shown, escaped, and nothing is judged anew."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cmarkgfm
import pytest
from markupsafe import escape

from sana_bench.errors import ReportError
from sana_bench.records import Checkpoint, ShareOfSamples, TrainingSummary
from sana_bench.report import pairs, write_report
from sana_bench.report.charts import common_reach, interval_bar, loss_curve
from sana_bench.report.markdown import escape_markdown
from sana_bench.report.overlays import FACE_CHAINS, HAND_CHAINS, POSE_CHAINS, draw_overlay
from sana_bench.report.wording import as_toml, number, signed
from sana_bench.store import read_record, write_record
from tests.report_fixture import HOSTILE, METRICS, make_run, make_suite


class Elements(HTMLParser):
    """Every start tag of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def render(root: Path, *, num_prompts: int = 6, baseline: bool = True, text=lambda index: f"person {index}",
           reused=None, guard: bool = False) -> tuple[str, str]:
    report, candidate, baseline_folder = make_run(root, make_suite(num_prompts, text), baseline=baseline, guard=guard)
    page = write_report(root / "run", report, candidate, baseline_folder, reused)
    return page.read_text(), (root / "run" / "report.md").read_text()


def test_every_verdict_stands_in_both_files_in_words_and_symbol(tmp_path):
    html, markdown = render(tmp_path)
    for metric, *_, outcome in METRICS:
        row = re.search(rf'<tr class="\w+" data-metric="{metric}">.*?</tr>', html, re.DOTALL)[0]
        assert outcome.replace("_", " ") in row and 'class="symbol"' in row
        line = next(line for line in markdown.splitlines() if line.startswith(f"| {escape_markdown(metric)} "))
        assert outcome.replace("_", " ") in line
    assert html.index('id="verdict"') < html.index('id="metrics"') < html.index('id="charts"') < html.index('id="worst"')


def test_one_file_without_outside_references(tmp_path):
    html, _ = render(tmp_path)
    for tag, attributes in Elements(html).found:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        assert not any(name.startswith("on") or name == "style" for name in attributes), "CSP would block it"
        for name in ("src", "href", "action", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/webp;base64,"))
    policy = next(attributes["content"] for tag, attributes in Elements(html).found if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-") and "unsafe" not in policy


def test_hostile_prompt_is_inert_in_both_files(tmp_path):
    html, markdown = render(tmp_path, text=lambda index: HOSTILE)
    plain, _ = render(tmp_path / "plain")
    tags, expected = ([tag for tag, _ in Elements(text).found] for text in (html, plain))
    assert tags == expected
    assert "<script>alert" not in html and "<script" not in markdown
    rows = [line for line in markdown.splitlines() if "alert" in line]
    assert rows and all(len(re.findall(r"(?<!\\)\|", row)) == 7 for row in rows)
    assert not re.search(r"(?<!\\)[`\[\]!]|@me\b", "".join(rows))


@pytest.mark.parametrize("text", ["www.evil.com", "_www.evil.com", "WWW.evil.com", "x www.evil.com y", "http://evil.com",
                                  "me@evil.com", "@me", "a_b_c", "~~a~~", "# a", "1. a", "| a |", HOSTILE])
def test_githubs_own_parser_makes_nothing_of_escaped_text(text):
    page = cmarkgfm.github_flavored_markdown_to_html(f"x {escape_markdown(text)}")
    assert [tag for tag, _ in Elements(page).found] == ["p"]
    assert [tag for tag, _ in Elements(cmarkgfm.github_flavored_markdown_to_html("x www.evil.com")).found] == ["p", "a"], "a weak parser"


def test_hostile_words_elsewhere_in_the_records_are_inert_too(tmp_path):
    plain, _ = render(tmp_path / "plain")
    report, candidate, baseline = make_run(tmp_path, make_suite(6, tag=HOSTILE))
    report = report.model_copy(update={
        "headline": HOSTILE, "baseline_name": HOSTILE,
        "verdicts": tuple(each.model_copy(update={"reason": HOSTILE, "unit": HOSTILE}) for each in report.verdicts),
        "candidate_provenance": report.candidate_provenance.model_copy(update={"platform": HOSTILE, "digests": {HOSTILE: HOSTILE}})})
    result = json.loads((candidate / "result.json").read_text())
    result["config"][HOSTILE] = {HOSTILE: HOSTILE}
    for each in result["results"]:
        each |= {"unscored_reasons": {HOSTILE: 1}, "explanation": HOSTILE, "extractor": HOSTILE, "beside": {HOSTILE: 0.25}, "note": HOSTILE}
    for each in result["compositions"]:
        each |= {"attribute": HOSTILE, "classes": [HOSTILE] * len(each["classes"]), "undetermined_reasons": {HOSTILE: 1}}
    for each in result["groups"]:
        each |= {"attribute": HOSTILE, "group": HOSTILE, "metric": HOSTILE}
    for each in result["tags"]:
        each |= {"tag": HOSTILE if each["tag"] == "face" else each["tag"]}
    result["prompt_tags"] = {name: [HOSTILE, *tags] for name, tags in result["prompt_tags"].items()}
    (candidate / "result.json").write_text(json.dumps(result))
    page = write_report(tmp_path / "run", report, candidate, baseline).read_text()
    markdown = (tmp_path / "run" / "report.md").read_text()
    rows = [line for line in markdown.splitlines() if line.startswith("| &lt;script")]
    assert rows and not any(re.search(r"(?<!\\)[`\[\]!]|@me\b|<script", row) for row in rows)
    dangerous = [(tag, name) for tag, attributes in Elements(page).found for name in attributes if name.startswith("on") or tag == "a" and name == "href"]
    assert not [name for _, name in dangerous if name.startswith("on")]
    assert "<script>alert" not in page and page.count("<script") == plain.count("<script") and 'src="x"' not in page
    assert [json.loads(attributes["data-tags"])[-1] for tag, attributes in Elements(page).found if "data-tags" in attributes][1] == HOSTILE


def test_what_must_be_known_beside_a_value_stands_beside_the_verdict(tmp_path):
    report, candidate, baseline = make_run(tmp_path, make_suite(6))
    result = json.loads((candidate / "result.json").read_text())
    result["results"][0]["note"] = "2 × prompt longer than the model reads, cut"
    (candidate / "result.json").write_text(json.dumps(result))
    html = write_report(tmp_path / "run", report, candidate, baseline).read_text()
    row = re.search(rf'<tr[^>]*data-metric="{result["results"][0]["metric"]}">.*?<details>', html, re.DOTALL)[0]
    assert "2 × prompt longer than the model reads, cut" in row and html.count("longer than the model reads") == 1
    assert "; 2 × prompt longer than the model reads, cut |" in (tmp_path / "run" / "report.md").read_text()


def cells(html: str, section: str) -> list[list[str]]:
    """The text of every cell of every row in the panel or section of that id."""
    panel = re.search(rf'<details class="panel" id="{section}">.*?</details>|<section id="{section}">.*?</section>', html, re.DOTALL)[0]
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
            for row in re.findall(r"<tr[^>]*>(.*?)</tr>", panel, re.DOTALL)]


def test_compositions_show_shares_correction_target_and_measures(tmp_path):
    html, markdown = render(tmp_path)
    rows = cells(html, "compositions")
    assert ["feminine", "12", "75 %", "81.8 %", "50 %"] in rows
    assert ["undetermined", "4", "20 %", "", ""] in rows  # 4 of the 20 that were looked at
    assert ["light", "0", "–", "–", "–"] in rows and ["undetermined", "0", "–", "", ""] in rows
    assert ["entropy in nats", "0.594", "0.594", "0.410 to 0.770"] in rows
    assert ["effective classes (Hill 1)", "1.75", "1.75", "–"] in rows
    assert ["divergence from the target in nats", "0.117", "0.117", "−0.050 to 0.290"] in rows
    assert "Undetermined: 3 × no face found, 1 × undetermined presentation." in html
    assert "| gender | feminine 75 %, masculine 25 % | 20 % |" in markdown


def test_groups_show_means_the_gap_and_which_are_too_small(tmp_path):
    html, markdown = render(tmp_path)
    rows = cells(html, "groups")
    assert ["hand_rate", "gender", "masculine", "7", "7", "0.650", "0.400 to 0.800"] in rows
    assert ["hand_rate", "gender", "worst gap", "", "", "0.250", ""] in rows
    assert ["hand_rate", "skin tone", "dark", "3", "3", "too few prompts"] in rows
    assert ["hand_rate", "skin tone", "worst gap", "", "", "–", ""] in rows  # one group alone has no gap
    assert "| hand_rate | skin tone | light 0.700, dark too few | – |" in markdown


def test_tags_show_differences_with_intervals_and_mark_few_prompts(tmp_path):
    html, markdown = render(tmp_path)
    rows = cells(html, "tags")
    assert rows[0] == ["tag", "prompts", "hand_rate", "face_rate"]
    assert rows[1] == ["face", "6", "▼ −0.070−0.090 to −0.040", "0.7000.600 to 0.800"]  # what was not compared stands alone
    assert rows[2] == ["hands", "3", "+0.010 †−0.010 to +0.040", "0.700 †0.600 to 0.800"]
    assert "| face | 6 | −0.070 (−0.090 to −0.040) | 0.700 (0.600 to 0.800) |" in markdown
    alone, _ = render(tmp_path / "alone", baseline=False)
    assert ["face", "6", "0.7000.600 to 0.800", "0.7000.600 to 0.800"] in cells(alone, "tags") and "Scores by tag" in alone


def test_tags_mark_what_so_many_looks_leave(tmp_path):
    report, candidate, baseline = make_run(tmp_path, make_suite(6))
    tags = tuple(each.model_copy(update={"p_value": 0.0004, "q_value": 0.01 if each.tag == "face" else 0.3}) for each in report.tags)
    page = write_report(tmp_path / "run", report.model_copy(update={"tags": tags}), candidate, baseline, None).read_text()
    assert cells(page, "tags")[1][2] == "▼ −0.070 ✱−0.090 to −0.040" and "✱" not in cells(page, "tags")[2][2]
    assert "6 pairs of 6 prompts, p = less than 0.001, q = 0.01" in page or "12 pairs of 12 prompts, p = less than 0.001, q = 0.01" in page
    assert "| face | 6 | −0.070 ✱ (−0.090 to −0.040) |" in (tmp_path / "run" / "report.md").read_text()


def test_gates_stand_first_with_what_they_demand_and_whether_they_pass(tmp_path):
    report, candidate, baseline = make_run(tmp_path, make_suite(6))
    hands = next(each for each in report.verdicts if each.metric == "hand_rate")
    gates = (hands.model_copy(update={"gate": f"hands {HOSTILE}", "passed": False, "floor": 0.8, "p_value": 0.031, "p_adjusted": 0.062, "test": "sign flips",
                                      "num_prompts": 6}),
             hands.model_copy(update={"gate": "hand_rate", "outcome": "unchanged"}))
    page = write_report(tmp_path / "run", report.model_copy(update={"gates": gates}), candidate, baseline, None).read_text()
    rows = cells(page, "gates")
    assert rows[1][0].startswith(f"hands {escape(HOSTILE)}") and "✗ fails" in rows[1][1] and "at least 0.800" in rows[1][6]
    assert rows[2][0].startswith("hand_rate") and "✓ passes" in rows[2][1]
    assert "p = 0.031 by flipping the sign of prompts, 0.062 after Holm" in page
    assert page.index('id="gates"') < page.index('id="metrics"') and 'id="gates"' not in render(tmp_path / "without")[0]
    assert "1 <span class" in page.split('class="counts"')[1][:200], "the counts are those of the gates"


def test_the_guard_has_a_section_of_its_own_and_is_not_mixed_with_the_suite(tmp_path):
    """Both suites of the fixture have the same metrics and sample ids."""
    plain, _ = render(tmp_path / "plain")
    html, markdown = render(tmp_path, guard=True)
    assert 'id="guard"' not in plain and "guard_test" not in plain
    section = re.search(r'<section id="guard">.*?</section>', html, re.DOTALL)[0]
    own = re.search(r'<section id="metrics">.*?</section>', html, re.DOTALL)[0]
    for part in (section, own):
        assert [part.count(f'data-metric="{metric}"') for metric, *_ in METRICS] == [1] * len(METRICS)
    assert section.count('<article class="worst"') == 2 and "data-id" not in section, "there is no card to open"
    assert html.count('<article class="card"') == plain.count('<article class="card"')
    counts = re.search(r'<p class="counts">.*?</p>', html, re.DOTALL)[0]
    assert re.match(r'<p class="counts"><span class="count">2 ', counts), "those of both suites, the worst first"
    assert "### Guard: guard_test" in markdown
    assert all(sum(line.startswith((f"| {escape_markdown(metric)} ↑", f"| {escape_markdown(metric)} ↓")) for line in markdown.splitlines()) == 2 for metric, *_ in METRICS)
    ids = [attributes["id"] for _, attributes in Elements(html).found if attributes.get("id")]
    assert len(ids) == len(set(ids))


def test_a_gate_shows_the_facts_of_its_own_suite(tmp_path):
    """Both suites measured the metric; what stands beside a gate on the guard is the guard's."""
    report, candidate, baseline = make_run(tmp_path, make_suite(6), guard=True)
    path = candidate / "guard" / "result.json"
    result = json.loads(path.read_text())
    for each in result["results"]:
        each["explanation"] = "of the guard alone"
    path.write_text(json.dumps(result))
    gates = tuple(verdict.model_copy(update={"gate": verdict.suite, "passed": True}) for verdict in report.verdicts if verdict.metric == "hand_rate")
    html = write_report(tmp_path / "run", report.model_copy(update={"gates": gates}), candidate, baseline).read_text()
    section = re.search(r'<section id="gates">.*?</section>', html, re.DOTALL)[0]
    rows = re.findall(r"<tr class=.*?</tr>", section, re.DOTALL)
    assert len(rows) == 2 and ["of the guard alone" in row for row in rows] == ["guard_test" in row for row in rows]
    assert sum("of the guard alone" in row for row in rows) == 1


def test_a_guard_that_only_the_baseline_has_is_said(tmp_path):
    report, candidate, baseline = make_run(tmp_path, make_suite(6), guard=True)
    shutil.rmtree(candidate / "guard")
    html = write_report(tmp_path / "run", report.model_copy(update={"guard_worst_samples": ()}), candidate, baseline).read_text()
    section = re.search(r'<section id="guard">.*?</section>', html, re.DOTALL)[0]
    assert section.count("The candidate's result does not have this metric") == len(METRICS) and "<article" not in section


def test_a_result_without_people_has_no_such_tables(tmp_path):
    report, candidate, baseline = make_run(tmp_path, make_suite(4), people=False)
    result = json.loads((candidate / "result.json").read_text())
    del result["compositions"], result["groups"], result["tags"], result["prompt_tags"]  # as written before there were any
    (candidate / "result.json").write_text(json.dumps(result))
    html = write_report(tmp_path / "run", report, candidate, baseline).read_text()
    markdown = (tmp_path / "run" / "report.md").read_text()
    assert not any(f'id="{name}"' in html for name in ("compositions", "groups", "tags")) and "Perceived presentation" not in markdown
    assert "Perceived gender" in html  # the charts, made of the metrics, stay


def test_people_of_the_candidate_alone_have_no_column_of_a_baseline(tmp_path):
    html, _ = render(tmp_path, baseline=False)
    assert ["entropy in nats", "0.594", "0.410 to 0.770"] in cells(html, "compositions")


def test_what_was_not_compared_is_not_compared_by_the_report(tmp_path):
    report, candidate, baseline = make_run(tmp_path, make_suite(4))
    refused = [each.model_copy(update=dict(outcome="not_comparable", difference=None, ci_low=None, ci_high=None, num_pairs=0))
               for each in report.verdicts]
    report = report.model_copy(update={"verdicts": tuple(refused), "worst_samples": (), "tags": ()})
    page = write_report(tmp_path / "run", report, candidate, baseline).read_text()
    body = page[page.index('<section id="metrics">'):page.index('<form class="filters')] + page[page.index('id="cards"'):page.index('id="cost"')]
    assert "▼" not in body and "▲" not in body and "same prompt and noise" not in page
    harms = [json.loads(attributes["data-harms"]) for _, attributes in Elements(page).found if "data-harms" in attributes]
    assert len(harms) == 4 and all(harm is None for each in harms for harm in each)


def test_without_a_budget_a_loss_is_told_in_the_metrics_own(tmp_path):
    report, candidate, baseline = make_run(tmp_path, make_suite(4))
    report = report.model_copy(update={"verdicts": tuple(each.model_copy(update={"budget": 0.0}) for each in report.verdicts)})
    page = write_report(tmp_path / "run", report, candidate, baseline).read_text()
    assert "no budget to scale by" in page
    first = next(json.loads(attributes["data-harms"]) for _, attributes in Elements(page).found if "data-harms" in attributes)
    assert first[0] == pytest.approx(3 * 0.61 / 0.15)  # the fixture's first pair lost three times the mean


@pytest.mark.parametrize("content", ["{", "[]", '{"p0_0": {}}', '{"p0_0": {"width": 9, "height": 9, "poses": [], "hands": [[[1]]], "faces": []}}'])
def test_damaged_keypoints_are_one_error(tmp_path, content):
    report, candidate, baseline = make_run(tmp_path, make_suite(4))
    (candidate / "keypoints.json").write_text(content)
    with pytest.raises(ReportError, match="keypoints.json is damaged"):
        write_report(tmp_path / "run", report, candidate, baseline)


def test_the_cards_of_the_metrics_are_shown_with_their_self_test(tmp_path):
    from sana_bench.cards import cards

    report, candidate, baseline = make_run(tmp_path, make_suite(4))
    shown = [card.model_copy(update={"limits": f"{card.limits} {HOSTILE}"}) for card in cards(("hand_plausibility", "skin_tone_diversity"))]
    (candidate / "cards.json").write_text(json.dumps([card.model_dump(mode="json") for card in shown]))
    html = write_report(tmp_path / "run", report, candidate, baseline).read_text()
    for card in shown:
        part = re.search(rf'<details class="panel" id="metric-{card.name}">.*?</details>', html, re.DOTALL)[0]
        for words in (card.explanation, "formula", "source", "limits", "use", *card.self_test.auc):
            assert escape(words) in part
    assert HOSTILE not in html
    (candidate / "cards.json").write_text("[{}]")
    with pytest.raises(ReportError, match="cards.json is damaged"):
        write_report(tmp_path / "run", report, candidate, baseline)


def test_every_id_of_a_page_is_there_once(tmp_path):
    from sana_bench.cards import cards

    report, candidate, baseline = make_run(tmp_path, make_suite(4))
    (candidate / "cards.json").write_text(json.dumps([card.model_dump(mode="json") for card in cards()]))
    page = write_report(tmp_path / "run", report, candidate, baseline).read_text()
    ids = [attributes["id"] for _, attributes in Elements(page).found if attributes.get("id")]
    assert len(ids) == len(set(ids)) > 30
    assert {attributes["href"][1:] for tag, attributes in Elements(page).found if tag == "a" and "href" in attributes
            and attributes["href"].startswith("#")} <= set(ids)


def test_rate_and_plausibility_stand_together(tmp_path):
    """The last column is the mean over all hands that were found, three of 0.4, 0.6 and 0.8 in two images."""
    from sana_bench.report.page import found_and_whole
    from sana_bench.report.pairs import Album
    from sana_bench.results import load_bundle

    bundle = load_bundle(make_run(tmp_path, make_suite(4))[1])
    rate = next(each for each in bundle.result.results if each.metric == "hand_rate").model_copy(update={"value": 0.6})
    results = (rate, rate.model_copy(update={"metric": "hand_plausibility", "value": 0.3}))
    both = replace(bundle, result=bundle.result.model_copy(update={"results": results}))
    images = {"a_0": {"parts": {"hand": [{"hand_plausibility": 0.4}, {"hand_plausibility": 0.6}]}},
              "b_0": {"parts": {"hand": [{"hand_plausibility": 0.8}]}}, "c_0": {"parts": {}}}
    album = Album((("candidate", bundle.folder, images),))
    assert [(row.part, row.columns) for row in found_and_whole(both, None, album)] == [
        ("hand", ((None, 0.6), (None, 0.3), (None, pytest.approx(0.6))))]
    assert found_and_whole(bundle, None, album) == ()  # no plausibility was measured


def test_how_plausible_a_hand_is_stands_beside_it(tmp_path):
    html, _ = render(tmp_path)
    assert re.search(r'<text class="value" [^>]*><title>hand_plausibility 0.9, damage -1.5</title>0.90</text>', html)
    assert re.search(r'<text class="value low" [^>]*><title>hand_plausibility 0.2, damage 2</title>0.20</text>', html)


def test_without_a_baseline_the_candidate_alone_is_shown_and_said_so(tmp_path):
    html, markdown = render(tmp_path, baseline=False)
    assert "nothing compared" in html and "candidate alone" in html and "nothing compared" in markdown
    assert "worst first" not in html and "worse by a budget" not in html and "</svg> baseline" not in html
    assert 'data-side="baseline"' not in html and 'id="worst"' not in html and 'data-side="candidate"' in html


def test_bounds_are_kept_and_what_is_left_out_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("sana_bench.report.page.MAX_THUMB_PAIRS", 5)
    html, _ = render(tmp_path, num_prompts=20)
    assert html.count('<article class="worst"') == 12
    assert html.count('<article class="card"') == 5 and "15 of 20 pairs have no picture" in html
    # A link to a pair stands only where there is something to go to.
    ids = {attributes["id"] for _, attributes in Elements(html).found if "id" in attributes}
    links = [attributes["href"][1:] for _, attributes in Elements(html).found if (attributes.get("href") or "").startswith("#card-")]
    assert len(links) == 5 and ids.issuperset(links)


def test_large_pictures_stop_at_the_byte_budget(tmp_path, monkeypatch):
    whole, _ = render(tmp_path / "whole", num_prompts=20)
    monkeypatch.setattr(pairs, "MAX_WORST_BYTES", 2000)
    html, markdown = render(tmp_path, num_prompts=20)
    shown = html.count('<article class="worst"')
    assert 0 < shown < whole.count('<article class="worst"') == 12
    assert f"{12 - shown} more are listed" in html and '<article class="card"' in html
    assert len(re.findall(r"^\| p\d+_0 ", markdown, re.MULTILINE)) == 12  # text costs nothing


def test_missing_side_files_are_said_and_not_guessed(tmp_path):
    report, candidate, baseline = make_run(tmp_path, make_suite(4))
    (candidate / "suite.json").unlink()
    (candidate / "checkpoint.json").unlink()
    (baseline / "keypoints.json").unlink()
    (baseline / "views" / "p0_0.webp").unlink()
    html = write_report(tmp_path / "run", report, candidate, baseline).read_text()
    for words in ("Prompt texts and tags are not", "No loss curve is recorded", "keypoints not recorded", "no picture in"):
        assert words in html


def test_what_training_saw_stands_where_it_differs_from_the_images(tmp_path):
    report, candidate, baseline = make_run(tmp_path, make_suite(4))
    checkpoint = read_record(candidate / "checkpoint.json", Checkpoint)
    shares = tuple(ShareOfSamples(name=name, before=before, after=after) for name, before, after in (
        (f"source={HOSTILE}", 0.9, 0.7), ("source=general", 0.1, 0.3), ("gender=feminine", 0.25, 0.5), ("gender=masculine", 0.75, 0.5)))
    write_record(candidate / "checkpoint.json", checkpoint.model_copy(update={"summary": checkpoint.summary.model_copy(update={"shares": shares})}))
    html = write_report(tmp_path / "run", report, candidate, baseline).read_text()
    seen = re.search(r'<figure id="trained-on">.*?</figure>', html, re.DOTALL)[0]
    assert re.findall(r'<td class="num">([\d.]+) %</td>', seen) == ["90", "70", "10", "30", "25", "50", "75", "50"]
    assert "<script" not in seen and "gender=feminine: 25.0% of the images and 50.0% of the samples, so that each is seen 2.0 times" in seen
    assert 'id="trained-on"' not in render(tmp_path / "alike")[0]


def test_a_stage_says_whether_it_was_reused_only_where_that_is_known(tmp_path):
    html, _ = render(tmp_path, reused={"train": True, "generate": False, "score": False})
    assert html.count("<td>reused</td>") == 1 and html.count("<td>done</td>") == 2
    html, _ = render(tmp_path / "unknown")
    assert "<td>reused</td>" not in html and "<td>done</td>" not in html


@pytest.mark.parametrize(("higher_is_better", "difference"), [(True, -0.2), (False, 0.2)])
def test_a_loss_is_on_the_left_whatever_the_direction(tmp_path, higher_is_better, difference):
    report, *_ = make_run(tmp_path, make_suite(4))
    verdict = report.verdicts[0].model_copy(update=dict(
        higher_is_better=higher_is_better, difference=difference, budget=0.1,
        ci_low=difference - 0.1, ci_high=difference + 0.1))
    bar = interval_bar(verdict, reach=4)
    # A loss of 2 budgets, from 3 to 1, on an axis of 4 budgets.
    assert (bar.low, bar.point, bar.high, bar.budget) == pytest.approx((-0.75, -0.5, -0.25, -0.25))
    clipped = interval_bar(verdict, reach=2)
    assert clipped.low == -1 and clipped.beyond_low and not clipped.beyond_high
    assert interval_bar(verdict.model_copy(update={"budget": 0.0}), reach=4) is None
    assert common_reach([verdict]) == pytest.approx(3.3)


def test_loss_curve_spans_its_box_and_ends_on_the_running_mean():
    summary = TrainingSummary(steps=3, losses=(4.0, 2.0, 0.0), num_images=1, data_digest="", trainable_parameters=1)
    curve = loss_curve(summary)
    assert curve.raw == "0.00,0.00 50.00,50.00 100.00,100.00"
    assert curve.final == 0.0
    long = loss_curve(summary.model_copy(update={"losses": tuple(float(step) for step in range(1000))}))
    assert (long.stride, long.window, long.final) == (4, 50, pytest.approx(974.5))  # mean of 950 to 999
    assert long.raw.endswith(" 100.00,0.00") and len(long.raw.split()) < 302
    assert loss_curve(None) is None


def test_overlay_draws_what_is_visible_and_counts_what_was_found():
    pose = [[index, 0, 1.0 if index in (11, 13) else 0.0] for index in range(33)]
    overlay = draw_overlay({"width": 64, "height": 64, "poses": [pose], "hands": [[[index, index] for index in range(21)]] * 2,
                            "faces": [[[index, 1] for index in range(478)]]})
    assert overlay.summary == "1 pose, 2 hands, 1 face"
    assert next(stroke.path for stroke in overlay.strokes if stroke.kind == "pose") == "M11 0M11 0M11 0L13 0"
    assert sum(stroke.kind == "joints" for stroke in overlay.strokes) == 2
    nobody = draw_overlay({"width": 64, "height": 64, "poses": [], "hands": [], "faces": []})
    assert nobody.strokes == () and nobody.summary == "no person found"


def test_chains_use_every_hand_point_and_only_points_that_exist():
    assert {point for chain in HAND_CHAINS for point in chain} == set(range(21))
    assert max(point for chain in FACE_CHAINS for point in chain) == 477
    assert max(point for chain in POSE_CHAINS for point in chain) < 33


def test_numbers_and_settings_read_as_they_were():
    assert [number(value) for value in (None, 0.0, 0.1234, -1.5, 1234.5)] == ["–", "0.000", "0.123", "−1.50", "1,234"]
    assert (signed(0.5), signed(-0.5)) == ("+0.500", "−0.500")
    config = {"name": "a", "train": {"rate": 1e-4, "modules": ["to_q"], "on": True},
              "compare": {"budgets": [{"metric": "x", "budget": 1.0}]}}
    assert tomllib.loads(as_toml(config)) == config


def with_seeds(report, candidate: Path, values: dict[int, float]):
    """Other training seeds beside a candidate, with a hand_rate of so much; and the report on all of them."""
    for seed, value in values.items():
        folder = candidate / "seeds" / str(seed)
        shutil.copytree(candidate, folder, ignore=shutil.ignore_patterns("views", "seeds"))
        result = json.loads((folder / "result.json").read_text())
        result["config"]["train"]["seed"] = seed
        next(each for each in result["results"] if each["metric"] == "hand_rate")["value"] = value
        (folder / "result.json").write_text(json.dumps(result))
    number = 1 + len(values)
    return report.model_copy(update={"verdicts": tuple(each.model_copy(update={"num_training_seeds": number}) for each in report.verdicts)})


def test_a_verdict_on_one_fine_tune_says_so_once_in_each_file(tmp_path):
    html, markdown = render(tmp_path)
    assert html.count("One fine-tune: another training seed may come out otherwise") == markdown.count("One fine-tune: ") == 1
    assert html.index('id="training-noise"') < html.index('id="metrics"') and 'id="training-seeds"' not in html and "By training seed" not in markdown


def test_several_fine_tunes_are_counted_and_their_spread_is_shown(tmp_path):
    report, candidate, baseline = make_run(tmp_path, make_suite(6))
    report = with_seeds(report, candidate, {2: 0.55, 10: 0.65})
    html = write_report(tmp_path / "run", report, candidate, baseline).read_text()
    markdown = (tmp_path / "run" / "report.md").read_text()
    assert "3 fine-tunes that differ in their training seed alone" in html and "One fine-tune" not in html + markdown
    # hand_rate is 0.75, 0.55 and 0.65: a mean of 0.65 and an SD of 0.1, two budgets of 0.05; nothing else moves
    assert "Widest in budgets: hand_rate, SD 0.100 share, 2.00 budgets." in markdown and "Widest in budgets: hand_rate, SD 0.100 share, 2.00 budgets." in html
    table = markdown[markdown.index("### By training seed"):].splitlines()
    assert table[2] == "| metric | seed 0 | seed 2 | seed 10 | mean | SD between seeds | in budgets |"
    assert table[4] == "| hand_rate | 0.750 | 0.550 | 0.650 | 0.650 | 0.100 | 2.00 |"
    section = re.search(r'<details class="panel" id="training-seeds">.*?</details>', html, re.DOTALL)[0]
    assert re.sub(r"\s*<[^>]*>\s*", " ", section[section.index("hand_rate"):]).split()[:8] == ["hand_rate", "share", "0.750", "0.550", "0.650", "0.650", "0.100", "2.00"]


def test_what_was_not_trained_says_nothing_of_fine_tunes(tmp_path):
    report, candidate, baseline = make_run(tmp_path, make_suite(6))
    untrained = report.model_copy(update={"verdicts": tuple(each.model_copy(update={"num_training_seeds": 0}) for each in report.verdicts)})
    html = write_report(tmp_path / "run", untrained, candidate, baseline).read_text()
    assert "fine-tune" not in html[html.index("<body>"):html.index('id="charts"')] and "fine-tune" not in (tmp_path / "run" / "report.md").read_text()


def test_names_in_the_table_of_seeds_are_inert(tmp_path):
    report, candidate, baseline = make_run(tmp_path, make_suite(6))
    path = candidate / "result.json"
    result = json.loads(path.read_text())
    hostile = next(each for each in result["results"] if each["metric"] == "hand_rate")
    hostile["unit"] = HOSTILE
    path.write_text(json.dumps(result))
    report = with_seeds(report, candidate, {1: 0.6})
    html = write_report(tmp_path / "run", report, candidate, baseline).read_text()
    markdown = (tmp_path / "run" / "report.md").read_text()
    assert "<script>alert" not in html and str(escape(HOSTILE)) in html
    shown = cmarkgfm.github_flavored_markdown_to_html(markdown)
    assert "<script" not in shown and "<img" not in shown and "evil.invalid" not in re.findall(r'href="([^"]*)"', shown)
