"""The pytest plugin: `pytest gates.toml --sana-bench-result=RUN` makes each gate a test.

Every pytest of the environment imports this module. Until --sana-bench-result is given it only adds two options, a marker and two fixtures: it
collects nothing, and nothing heavy is imported.

A session that is given a result judges it, whatever else it runs. By which gates, and a line after the collection says so:
    files named on the command line    any TOML file: its gates, judged together; result.json of the run: the run's own
    gates.toml in pytest's rootdir     its gates
    neither                            the run's own gates; every metric where it has none
To run other tests alone, leave the gates out by name: -m "not sana_bench_gate".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sana_bench.errors import SanaBenchError

if TYPE_CHECKING:
    from sana_bench.gates.judging import JudgedRun
    from sana_bench.records import BenchmarkResult, RegressionReport, Verdict

GATES_FILE, RESULT_FILE, PAGE = "gates.toml", "result.json", "report.html"
MARK = "sana_bench_gate"
RUN = pytest.StashKey["JudgedRun"]()
REPORTS = pytest.StashKey["list[RegressionReport]"]()
"""Of the gates that were collected, in their order."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sana-bench", "verdicts of sana-bench")
    group.addoption("--sana-bench-result", metavar="RUN_DIR", help="judge this run folder, and give it to the sana_bench fixtures. Its gates: TOML files among "
                    "the paths, else gates.toml in the rootdir, else the run's own")
    group.addoption("--sana-bench-baseline", metavar="NAME_OR_PATH",
                    help="hold it against this baseline (default: the one that the run was held against)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARK}: a gate on a run of sana-bench")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Read the run first: a wrong path is an error even where no test asks for it."""
    config, baseline = session.config, session.config.option.sana_bench_baseline
    result = config.option.sana_bench_result
    if result is None:
        if baseline is not None:
            raise pytest.UsageError("--sana-bench-baseline says what --sana-bench-result is held against: give that too")
        return
    if not result:  # a variable that a script did not set must not switch the gates off
        raise pytest.UsageError("--sana-bench-result is empty: give a run folder, as sana-bench train-and-eval writes it")
    from sana_bench.gates.judging import open_run

    try:
        run = open_run((config.invocation_params.dir / Path(result).expanduser()).absolute(), baseline)
    except SanaBenchError as error:
        raise pytest.UsageError(_message(error)) from error
    config.stash[RUN], config.stash[REPORTS] = run, []


def pytest_report_header(config: pytest.Config) -> list[str]:
    run = config.stash.get(RUN, None)
    if run is None:
        return []
    from sana_bench.report.verdict_text import one_line

    return [one_line(f"sana-bench: {run.candidate.folder} against {f'baseline {run.baseline_name}' if run.baseline else 'no baseline'}")]


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if RUN not in parent.config.stash or not parent.session.isinitpath(file_path):
        return None
    if file_path == _own_gates(parent.config):
        return Gates.from_parent(parent, path=file_path, nodeid=RESULT_FILE)  # the same names for every run
    return Gates.from_parent(parent, path=file_path) if file_path.suffix == ".toml" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the gates where none were named, before -k and -m choose."""
    if RUN in config.stash and not config.stash[REPORTS]:
        own, lying = _own_gates(config), config.rootpath / GATES_FILE
        found = Gates.from_parent(session, path=lying) if lying.is_file() else Gates.from_parent(session, path=own, nodeid=RESULT_FILE)
        items.extend(session.genitems(found))


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> list[str]:
    if RUN not in config.stash:
        return []
    from sana_bench.report.verdict_text import one_line

    chosen = Counter(item.parent.nodeid for item in items if isinstance(item, GateItem))
    return [one_line(f"sana-bench: judged by {', '.join(f'{count} gate(s) of {name}' for name, count in chosen.items()) or 'no gate: all were left out'}")]


@pytest.hookimpl(tryfirst=True)
def pytest_make_collect_report(collector: pytest.Collector) -> None:
    """Bad input ends the session as other wrong usage does; only a worker of xdist has to leave that to its controller, and reports it."""
    if isinstance(collector, Gates) and not hasattr(collector.config, "workerinput"):
        try:
            collector.judged()
        except SanaBenchError as error:
            raise pytest.UsageError(_message(error)) from error


def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    """A gate that lets too few samples pass is green, and -v says that nothing was told."""
    if getattr(report, "when", "") == "call" and report.passed and MARK in report.keywords and ("outcome", "inconclusive") in report.user_properties:
        return "passed", ".", "PASSED (inconclusive)"
    return None


class Gates(pytest.File):
    """Gates that are judged together, once, when they are collected: of a TOML file, or of the recipe, which the run recorded in its result.json."""

    _report: RegressionReport | None = None

    def judged(self) -> RegressionReport:
        if self._report is None:
            from sana_bench.gates.files import load_gates

            run = self.config.stash[RUN]
            self._report = run.judge(load_gates(self.path) if self.path.suffix == ".toml" else run.config.gate)
            self.config.stash[REPORTS].append(self._report)
        return self._report

    def collect(self) -> Iterator[GateItem]:
        from sana_bench.report.verdict_text import verdict_label

        try:
            report = self.judged()
        except SanaBenchError as error:
            raise self.CollectError(_message(error)) from error
        for verdict in report.deciding:
            yield GateItem.from_parent(self, name=verdict_label(verdict), verdict=verdict, report=report)


class GateItem(pytest.Item):
    """One verdict."""

    def __init__(self, *, verdict: Verdict, report: RegressionReport, **node) -> None:
        from sana_bench.report.junit import properties_of

        super().__init__(**node)
        self.verdict, self.report = verdict, report
        self.add_marker(MARK)
        self.extra_keyword_matches.update(filter(None, [verdict.metric, verdict.suite, verdict.tag, *verdict.group.split("=")]))
        self.user_properties.extend(properties_of(verdict).items())

    def runtest(self) -> None:
        from sana_bench.report.verdict_text import verdict_text

        page = self.config.stash[RUN].candidate.folder / PAGE
        text = verdict_text(self.verdict, self.report, page if page.exists() else None)
        if not self.verdict.passed:
            pytest.fail(text, pytrace=False)
        self.add_report_section("call", "verdict", text)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, self.name


@pytest.fixture(scope="session")
def sana_bench_result(pytestconfig: pytest.Config) -> BenchmarkResult:
    """The result of the run given by --sana-bench-result: values, tags, groups, provenance."""
    return _given(pytestconfig).candidate.result


@pytest.fixture(scope="session")
def sana_bench_report(pytestconfig: pytest.Config) -> RegressionReport:
    """The verdicts on the run given by --sana-bench-result, with the first gates that the session judges it by.

    `sana_bench_report.verdict("hand_rate", tag="portrait")` is one of them.
    """
    run = _given(pytestconfig)
    try:
        return next(iter(pytestconfig.stash[REPORTS]), None) or run.judge(run.config.gate)
    except SanaBenchError as error:
        pytest.fail(_message(error), pytrace=False)


def _given(config: pytest.Config) -> JudgedRun:
    if RUN not in config.stash:
        pytest.fail("which run? The sana_bench fixtures need pytest --sana-bench-result=RUN_DIR, where RUN_DIR is a folder that "
                    "sana-bench train-and-eval wrote", pytrace=False)
    return config.stash[RUN]


def _own_gates(config: pytest.Config) -> Path:
    return config.stash[RUN].candidate.folder / RESULT_FILE


def _message(error: SanaBenchError) -> str:
    """Names in it may come from somebody else's run folder."""
    from sana_bench.report.verdict_text import one_line

    return "sana-bench: " + "\n  ".join(map(one_line, str(error).splitlines()))
