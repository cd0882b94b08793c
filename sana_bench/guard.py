"""Which suites a run draws and scores: its own, and the guard suite of what the fine-tune was not meant to change.

Both go through the same stages with the same sampling settings; the guard's metrics are its own, and its result is a bundle of its own
beside the first (`guard/` in a run folder and in a baseline).
"""

from __future__ import annotations

from dataclasses import dataclass

from sana_bench.config import RunConfig
from sana_bench.errors import ConfigError
from sana_bench.prompts import PromptSuite, load_suite


GUARD_PREFIX = "guard "


@dataclass(frozen=True)
class Part:
    """One suite of a run."""

    config: RunConfig
    """The settings under which it is drawn and scored."""
    suite: PromptSuite
    setting: str
    """That which names the suite."""
    prefix: str
    """Of the names of its stages."""
    num_prompts: int | None = None
    """Only the first so many prompts of its drawing order; None is all."""


def parts_of(config: RunConfig, prefix: str = "") -> list[Part]:
    """The suite, then the guard suite where there is one.

    Args:
        prefix: of the names of all their stages.

    Raises:
        PromptSuiteError: a suite cannot be used.
        ConfigError: both are the same.
    """
    parts = [Part(config, load_suite(config.score.suite, config.score.prompt_form), "score.suite", prefix)]
    if config.score.guard_suite:
        score = config.score.model_copy(update={"suite": config.score.guard_suite, "metrics": config.score.guard_metrics, "extra_metrics": (), "guard_suite": ""})
        parts.append(Part(config.model_copy(update={"score": score}), load_suite(score.suite, score.prompt_form), "score.guard_suite", prefix + GUARD_PREFIX))
    if len(parts) == 2 and parts[0].suite.name == parts[1].suite.name:
        raise ConfigError(f'score.guard_suite is score.suite: both are "{parts[0].suite.name}". Guard what the fine-tune was not meant to change '
                          f"(general_guard has nobody in it), or leave score.guard_suite empty")
    return parts
