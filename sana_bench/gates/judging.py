"""A run folder under judgement: its result, the baseline it is held against, and the verdict on the gates that are asked of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sana_bench.baselines import find_baseline
from sana_bench.commands.settings import recorded_config
from sana_bench.compare import compare
from sana_bench.config import GateSection, RunConfig
from sana_bench.errors import BaselineError, MetricError
from sana_bench.features.open_clip_models import declare
from sana_bench.gates.check import check_gates, judgeable_sides
from sana_bench.looks import at_confidence, settings_at
from sana_bench.records import Look, RegressionReport
from sana_bench.results import BASELINE_FOLDER, REPORT_RECORD, ResultBundle, load_bundle
from sana_bench.store import read_record


@dataclass(frozen=True)
class JudgedRun:
    config: RunConfig
    """As the run recorded it; its own gates are among it."""
    candidate: ResultBundle
    baseline: ResultBundle | None
    """None where the run had none: whatever compares is then `missing`."""
    baseline_name: str
    look: Look | None = None
    """At which the run stopped, where it took several: its verdicts are as strict as that look was."""

    def judge(self, gates: tuple[GateSection, ...]) -> RegressionReport:
        """The verdict; without gates on every metric.

        Raises:
            SanaBenchError: a gate asks what does not exist, the sides cannot be compared at all, or nothing was measured.
        """
        declare(self.config.score.clip_model)
        check_gates(gates, judgeable_sides(self.candidate, self.baseline))
        report = compare(self.candidate, self.baseline, settings_at(self.config.compare, self.look), self.baseline_name, gates)
        if not report.deciding:
            raise MetricError("nothing can be judged: neither the run nor its baseline was measured on any metric")
        return report.model_copy(update={"look": self.look})


def open_run(folder: Path, baseline: str | None = None) -> JudgedRun:
    """Read a run folder.

    Args:
        baseline: a baseline by name or a path to a result folder; None: the copy of the baseline that the run was held against.

    Raises:
        SanaBenchError: a folder or a record is missing or damaged, or there is no such baseline.
    """
    candidate, config, record, copy = load_bundle(folder), recorded_config(folder), folder / REPORT_RECORD, folder / BASELINE_FOLDER
    look = read_record(record, RegressionReport).look if record.exists() else None
    look = at_confidence(look, config) if look else None
    if baseline is None:
        return JudgedRun(config, candidate, load_bundle(copy) if copy.is_dir() else None, config.compare.baseline or config.name, look)
    place = find_baseline(baseline, Path(config.run.baselines))
    if place is None:
        raise BaselineError(f'no baseline "{baseline}" was accepted in {Path(config.run.baselines).absolute()}, and none of that name comes with sana-bench')
    return JudgedRun(config, candidate, load_bundle(place), baseline, look)
