"""What to do where two results cannot be compared: the settings that put the baseline's way back, or a new baseline. Words only."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable

from sana_bench.config import GenerateSection, ModelSection
from sana_bench.records import BenchmarkResult, Provenance

ACCEPT = 'sana-bench accept RUN_DIR --reason "..."'
PLAIN = re.compile(r"(?!(?:true|false|inf|nan)$)[A-Za-z_~/][\w~/:.-]*")
"""Text that `--set` takes for text without quotes."""


def suite_remedy(baseline: BenchmarkResult, setting: str) -> str:
    """Of a suite that is another one. `setting`: that which names it."""
    score = _section(baseline, "score")
    own, form = score.get("suite"), score.get("prompt_form")
    suite = own if isinstance(own, str) and own.endswith(".toml") else baseline.suite
    back = " ".join(_set(key, value) for key, value in ((setting, suite), ("score.prompt_form", form)) if value is not None)
    return (f"draw that suite ({back}; where its file has changed since, put version {baseline.suite_version} of it back), or draw the baseline's variant on "
            f"the new suite and accept that ({ACCEPT})")


def sampling_remedy(keys: Iterable[str], baseline: BenchmarkResult) -> str:
    """Of images that were drawn in another way. `keys`: the settings of generate, model or run that moved."""
    back = " ".join(filter(None, (_sampling_setting(key, baseline) for key in keys)))
    anew = f"draw the baseline's variant in the new way and accept that ({ACCEPT})"
    return f"draw with {back}, or {anew}" if back else anew


def measured_remedy(baseline: BenchmarkResult, candidate: BenchmarkResult) -> str:
    """Of a metric that is measured in another way."""
    back = going_back(baseline.provenance, candidate.provenance) or "put back the weights and settings that it was measured with"
    return f"score the baseline's variant with this sana-bench and accept that ({ACCEPT}), or {back}"


def held_against_remedy(baseline: BenchmarkResult, section: str, keys: tuple[str, ...]) -> str:
    """Of images that a metric compares with. `keys`: the settings of `section` that name them."""
    values = _section(baseline, section)
    back = " ".join(_set(f"{section}.{key}", values[key]) for key in keys if values.get(key))
    same = f"score with those of the baseline ({back}; where the files have changed, put them back)" if back else "put back those of the baseline"
    return f"{same}, or score the baseline's variant with the new ones and accept that ({ACCEPT})"


def going_back(before: Provenance, after: Provenance) -> str:
    """How to get the code and the packages that the baseline was scored with; empty where they are these."""
    steps = [f"sana-bench {before.sana_bench}"] if before.sana_bench != after.sana_bench else []
    if before.commit and before.commit != after.commit and before.commit_of == "sana-bench":
        steps.append(f"git checkout {shlex.quote(before.commit[:12])}" + (", which had changes that were not committed" if before.dirty else ""))
    moved = [f"{name}=={number}" for name, number in before.packages.items() if after.packages.get(name) != number]
    if moved:
        steps.append(f"pip install {' '.join(map(shlex.quote, moved))}")
    return f"go back to what it was scored with: {'; '.join(steps)}" if steps else ""


def noise_seed(result: BenchmarkResult) -> int:
    """`generate.seed`; results of before there was one have 0."""
    return _section(result, "generate").get("seed", 0)


def _sampling_setting(key: str, baseline: BenchmarkResult) -> str:
    """`--set ...` that puts a sampling setting back; empty where none does."""
    value = noise_seed(baseline) if key == "seed" else baseline.sampling.get(key)
    section = ("generate" if key in GenerateSection.model_fields else "model" if key in ModelSection.model_fields else "run" if key == "device" else "")
    return _set(f"{section}.{key}", value) if section and value is not None else ""


def _section(result: BenchmarkResult, name: str) -> dict:
    found = result.config.get(name)
    return found if isinstance(found, dict) else {}


def _set(key: str, value: object) -> str:
    """`--set key=value`, as a shell takes it."""
    text = value if isinstance(value, str) and PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    return f"--set {shlex.quote(f'{key}={text}')}"
