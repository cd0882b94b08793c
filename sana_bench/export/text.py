"""The body of a model card: the verdict, how it was measured, and what it does not say. Text from records is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sana_bench.config import RunConfig
from sana_bench.export.pictures import CardPicture
from sana_bench.export.results import Exported
from sana_bench.records import Checkpoint
from sana_bench.report.markdown import escape_markdown, gate_table, metric_table
from sana_bench.report.verdicts import in_order, rows_of
from sana_bench.report.wording import NOT_COMPARED, NOTHING, OUTCOMES, clipped, percent, signed
from sana_bench.training.lora import targets_of


@dataclass(frozen=True)
class CardFacts:
    """What stands in a card beside the results."""

    name: str
    base_model: str
    """Hub id; empty where the base is none of the hub."""
    license: str
    weights_file: str
    """In the card's folder; empty where the weights are not with it."""
    checkpoint: Checkpoint
    config: RunConfig
    pictures: tuple[CardPicture, ...]


def card_text(exported: Exported, facts: CardFacts) -> str:
    """Markdown without the front matter."""
    sections = [_head(exported, facts), _use(facts), _verdicts(exported), _pictures(facts.pictures), _measured(exported), _training(facts), _limits(exported)]
    return "\n".join(line for section in sections for line in section)


def _head(exported: Exported, facts: CardFacts) -> list[str]:
    report, text = exported.report, _escaped
    words = OUTCOMES[report.outcome] if report.baseline_provenance or report.gates else NOT_COMPARED
    licence = f"Licence: {text(facts.license)}." if facts.license else "No licence was stated by those who made it; what the licence of its base asks holds."
    return [f"# {text(facts.name)}", "", f"A LoRA for {text(_base_name(facts))}, measured by sana-bench {text(exported.own.provenance.sana_bench)}. {licence}", "",
            f"**{words.symbol} {words.label}**: {text(report.headline)}", ""]


def _use(facts: CardFacts) -> list[str]:
    if not facts.base_model or not facts.weights_file:
        return []
    dtype = facts.config.model.transformer_dtype
    revision = f', revision="{facts.config.model.revision}"' if re.fullmatch("[0-9a-f]{40}", facts.config.model.revision) else ""
    return ["## Use", "", "```python", "import torch", "from diffusers import SanaPipeline", "",
            f'pipeline = SanaPipeline.from_pretrained("{facts.base_model}"{revision}, torch_dtype=torch.{dtype})',
            f'pipeline.load_lora_weights("FOLDER_OR_ID_OF_THIS_MODEL", weight_name="{facts.weights_file}")', "```", ""]


def _verdicts(exported: Exported) -> list[str]:
    report = exported.report
    lines = ["## Results", ""]
    lines += [f"Against the baseline {_escaped(report.baseline_name)}, pair by pair: the same prompts and the same noise." if report.baseline_provenance
              else "There was no baseline to compare with: the values stand alone.", "", *gate_table(report.gates, report.confidence)]
    for result in exported.results:
        rows = rows_of(in_order(each for each in report.verdicts if each.suite == result.suite), exported.results, 1.0)
        lines += [f"### {_escaped(result.suite)}", "", *metric_table(rows, report.confidence)]
    return lines


def _pictures(pictures: Sequence[CardPicture]) -> list[str]:
    if not pictures:
        return []
    lines = ["## Pairs", "", "Baseline on the left, this LoRA on the right. Those that lost most, and those in the middle of all; none was chosen by hand.", ""]
    for each in pictures:
        lines += [f"![{each.kind}]({each.file_name})", "", f"{each.kind}, {signed(each.loss)} budgets lost on average: {_escaped(each.prompt) or NOTHING}", ""]
    return lines


def _measured(exported: Exported) -> list[str]:
    report, own = exported.report, exported.own
    sampling = ", ".join(f"{_escaped(name)} {_escaped(str(value))}" for name, value in sorted(own.sampling.items()) if value not in ("", None))
    lines = ["## How it was measured", ""]
    lines += [f"- suite {_escaped(each.suite)}, version {each.suite_version} (digest {_escaped(each.suite_digest)}): {len(each.samples)} images of "
              f"{len({sample.prompt_id for sample in each.samples})} prompts" for each in exported.results]
    lines += [f"- sampling: {sampling}",
              f"- {percent(report.confidence)} intervals over prompts, {report.num_resamples:,} resamples, seed {report.seed}; budgets are in each metric's unit",
              f"- baseline {_escaped(report.baseline_name)}, digest {_escaped(report.baseline_digest) or NOTHING}",
              f"- this result, digest {_escaped(report.candidate_digest)}",
              f"- {_escaped(own.provenance.created)}, on {_escaped(own.provenance.device)}, with "
              + ", ".join(f"{_escaped(name)} {_escaped(release)}" for name, release in own.provenance.packages.items()), "",
              "| metric | version | reads | its digest | what it says |", "|---|---:|---|---|---|"]
    known = {each.metric: each for result in reversed(exported.results) for each in result.results}
    lines += [f"| {_escaped(each.metric)} | {each.version} | {_escaped(each.extractor)} | {_escaped(each.extractor_digest)} | {_escaped(each.explanation)} |"
              for each in known.values()]
    return [*lines, ""]


def _training(facts: CardFacts) -> list[str]:
    """Numbers and digests; no path of the machine that it was trained on."""
    checkpoint, train = facts.checkpoint, facts.config.train
    lines = ["## Training", "", f"- base {_escaped(_base_name(facts))}, digest {_escaped(checkpoint.base_digest)}",
             f"- weights, SHA-256 {_escaped(checkpoint.weights_sha256)}"]
    if checkpoint.summary is None:
        return [*lines, "- trained elsewhere, taken over as it was", ""]
    summary = checkpoint.summary
    return [*lines, f"- {summary.num_images} images (digest {_escaped(summary.data_digest)}), {summary.steps} steps of {train.train_batch_size} x "
            f"{train.gradient_accumulation_steps} at {train.resolution} px, learning rate {train.learning_rate:g} ({train.lr_scheduler})",
            f"- rank {train.rank}, alpha {train.lora_alpha}, on {_escaped(', '.join(targets_of(train)))}: {summary.trainable_parameters:,} parameters",
            f"- flow shift {train.flow_shift:g}, {train.weighting_scheme} timesteps, caption dropout {train.caption_dropout:g}, seed {train.seed}", ""]


def _limits(exported: Exported) -> list[str]:
    deciding = exported.report.deciding
    seeds = max((each.num_training_seeds for each in deciding), default=1)
    untold = sum(each.outcome == "inconclusive" for each in deciding)
    unjudged = sorted({each.metric for result in exported.results for each in result.results if each.not_judged})
    lines = ["## Limits", "",
             "- One fine-tune was measured: another seed of the same training may come out otherwise." if seeds == 1 else
             f"- The intervals hold the spread between {seeds} fine-tunes of the same recipe; the weights are those of the first.",
             "- Numbers of another suite, metric version, extractor or sampling setting are not comparable with these.",
             "- Demographic numbers are perceived presentation in generated images, in aggregate; they identify nobody."]
    lines += [f"- {untold} of {len(deciding)} verdicts are inconclusive: so many images cannot tell."] if untold else []
    lines += [f"- Shown, and judging nothing: {', '.join(map(_escaped, unjudged))}."] if unjudged else []
    return [*lines, ""]


def _base_name(facts: CardFacts) -> str:
    """The hub id, or the last part of a folder's path."""
    return facts.base_model or facts.checkpoint.base.rstrip("/").rpartition("/")[2]


def _escaped(text: str) -> str:
    return escape_markdown(clipped(text))
