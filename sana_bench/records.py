"""The documents that cross stages. Each is frozen, typed and versioned; each is written last, so one that exists is complete."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1

Outcome = Literal["improved", "unchanged", "regressed", "inconclusive", "not_comparable", "missing"]


class Record(BaseModel):
    """Base of every record."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Versioned(Record):
    """A record that stands in a file of its own."""

    schema_version: Literal[1] = SCHEMA_VERSION


class StageCost(Record):
    """What a stage cost when it was done."""

    seconds: float
    """Of the process that finished it: what killed runs spent before is not in it. Of images drawn in blocks, of all blocks."""
    peak_memory_bytes: int
    """Highest resident set size of the process and its children while the stage ran."""


class ShareOfSamples(Record):
    """How often training saw images of one source, one perceived group, or zoomed crops."""

    name: str
    """`source=...`, `gender=feminine` and the like, or `crops`."""
    before: float
    """Share of the images."""
    after: float
    """Share of the samples of all steps. Of a perceived group, among those in which the attribute is perceived at all."""


class TrainingSummary(Record):
    steps: int
    losses: tuple[float, ...]
    """Loss of every step."""
    num_images: int
    data_digest: str
    trainable_parameters: int
    shares: tuple[ShareOfSamples, ...] = ()
    """Of samples, where there are several sources, bounds on groups, or crops."""
    seconds_outside: float | None = None
    """Of the steps, outside forward and backward passes and the optimizer; of the process that finished them."""
    seconds_inside: float | None = None


class Checkpoint(Versioned):
    """A trained variant, or the untouched base."""

    digest: str
    base: str
    base_digest: str
    trainer: str
    kind: Literal["base", "adapter", "full"]
    weights_file: str = ""
    """Weights in safetensors, beside the record: a file, or a folder of full weights."""
    weights_sha256: str = ""
    """Of a folder: of the names and hashes of its files."""
    summary: TrainingSummary | None = None
    cost: StageCost


class Sample(Record):
    """One generated image."""

    sample_id: str
    """`<prompt id>_<sample index>`"""
    prompt_id: str
    sample_index: int
    seed: int
    """Seed of its noise, from (suite version, prompt id, sample index)."""
    width: int
    height: int
    file_name: str
    """PNG beside the record."""
    pixels_sha256: str
    """SHA-256 of the (H, W, 3) uint8 pixels."""


class SampleSet(Versioned):
    """All images of one checkpoint on one suite."""

    digest: str
    checkpoint_digest: str
    suite: str
    suite_version: int
    sampling: dict[str, str | int | float | bool | None]
    """Every setting that decides the pixels, as it was used."""
    samples: tuple[Sample, ...]
    part_of: str = ""
    """Digest of the set of the whole suite, whose folder holds the images, where this is the beginning of it; empty for a whole set."""
    cost: StageCost

    @property
    def images_digest(self) -> str:
        """Names the folder with its images."""
        return self.part_of or self.digest


class Score(Record):
    """One metric on one image: a value, or None and a reason. Missing is never zero. The reason of a value is a flag on it."""

    sample_id: str
    metric: str
    value: float | None
    reason: str = ""


class MetricResult(Record):
    """One metric on one suite."""

    metric: str
    version: int
    value: float | None
    """None where nothing could be scored."""
    ci_low: float | None
    ci_high: float | None
    num_scored: int
    num_unscored: int
    unscored_reasons: dict[str, int] = {}
    unit: str
    higher_is_better: bool
    budget: float
    """How much worse is too much, in the metric's unit, where no recipe says otherwise."""
    extractor: str
    extractor_digest: str
    fewest_images: int = 0
    """From how many pairs of images on it may decide."""
    note: str = ""
    """What must be known beside the value: flags of images, the bias of few images."""
    not_judged: str = ""
    """Why it may not decide anything, whatever the number of images; empty where it may."""
    kind: Literal["sample", "set"]
    """`sample`: a mean of per-image values; `set`: a value of the whole set."""
    explanation: str
    """What it measures, in one sentence."""
    beside: dict[str, float] = {}
    """Numbers to read beside its value, by name, of metrics that have some; nothing is judged by them."""


class Measure(Record):
    """A number that describes a composition, with the interval that leaves out a prompt at a time."""

    value: float
    low: float | None
    high: float | None


class PromptComposition(Record):
    """Perceived classes in the images of one prompt."""

    prompt_id: str
    counts: tuple[int, ...]
    """Images of each class, in the order of the composition's classes."""
    num_undetermined: int
    entropy: float | None
    """Miller-Madow, nats; None without a determined image."""


class Composition(Record):
    """Perceived classes of one attribute over the images whose prompt leaves it open: aggregate, and of pictures only."""

    attribute: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    """Images of each class."""
    num_undetermined: int
    undetermined_reasons: dict[str, int]
    num_not_asked: int
    """Images whose prompt states the attribute."""
    shares: tuple[float, ...] | None
    """Of the determined images; None where there is none."""
    corrected_shares: tuple[float, ...] | None
    """Shares that make what the classifier saw most likely, given how it errs on photographs; None where that is not known."""
    corrected_intervals: tuple[tuple[float | None, float | None], ...] | None = None
    """Of each corrected share, over prompts; how far the classifier's errors are known is not in it."""
    target: tuple[float, ...] | None
    """What the suite declares; None where it declares nothing."""
    measures: dict[str, Measure]
    """entropy and normalised_entropy (Miller-Madow), hill_0, hill_1, hill_2; with a target also kl_to_target and
    mean_deviation_from_target. Empty with too few images."""
    corrected_measures: dict[str, Measure] = {}
    """The same of the corrected shares."""
    prompts: tuple[PromptComposition, ...]


class GroupScore(Record):
    """Mean of a sample metric over the images of one perceived group, whatever their prompts state."""

    attribute: str
    group: str
    metric: str
    value: float | None
    """None in a group that is too small to speak of."""
    low: float | None
    high: float | None
    num_images: int
    num_prompts: int
    enough: bool
    """Whether the group is large enough."""


class TagScore(Record):
    """Mean of a sample metric over the images of the prompts with one tag. Exploratory: no verdict rests on it."""

    tag: str
    metric: str
    value: float
    low: float | None
    """None with a single prompt."""
    high: float | None
    num_images: int
    """With a value on the metric."""
    num_prompts: int
    enough: bool
    """Whether so many prompts could make a verdict; with fewer, one odd prompt makes the value."""


class TagDifference(Record):
    """Candidate minus baseline on one tag, over the pairs scored on both sides. Exploratory: no verdict rests on it unless a gate asks."""

    suite: str
    tag: str
    metric: str
    difference: float
    low: float | None
    high: float | None
    num_pairs: int
    num_prompts: int
    enough: bool
    p_value: float | None = None
    """Two-sided, of no change, by sign flips over prompts."""
    q_value: float | None = None
    """The same after Benjamini-Hochberg over all tags and metrics of the suite: 0.05 means that of the tags so marked one in twenty is chance."""


class Provenance(Record):
    """Where a result comes from."""

    created: str
    """UTC, ISO 8601."""
    sana_bench: str
    commit: str
    """Of sana-bench's own checkout, else of the repository in which it was run; empty outside of any."""
    commit_of: Literal["sana-bench", "project"] = "sana-bench"
    """Whose commit it is; records of before this was kept are of checkouts."""
    dirty: bool
    python: str
    platform: str
    device: str
    packages: dict[str, str]
    digests: dict[str, str]
    """base, checkpoint, training data, reference data, suite, samples, and every extractor."""


class BenchmarkResult(Versioned):
    """What one checkpoint scored on one suite. `scores.parquet` and `statistics.safetensors` stand beside it."""

    digest: str
    name: str
    config: dict
    suite: str
    suite_version: int
    suite_digest: str
    sampling: dict[str, str | int | float | bool | None]
    samples: tuple[Sample, ...]
    num_prompts_left: int = 0
    """Prompts of the suite that were not drawn, because the run stopped early."""
    results: tuple[MetricResult, ...]
    compositions: tuple[Composition, ...] = ()
    """By attribute, where it was looked at."""
    groups: tuple[GroupScore, ...] = ()
    prompt_tags: dict[str, tuple[str, ...]] = {}
    """Tags of each prompt that has some, by prompt id."""
    tags: tuple[TagScore, ...] = ()
    """Of every sample metric and tag with a value."""
    provenance: Provenance
    stages: dict[str, StageCost]


class WorstSample(Record):
    """A pair whose candidate lost most on some metric."""

    sample_id: str
    prompt_id: str
    metric: str
    baseline: float | None
    candidate: float | None
    difference: float
    harm: float
    """Loss in units of the metric's budget; sorts the list."""


class Verdict(Record):
    """One metric of the candidate against the baseline, on a whole suite or on a slice of it."""

    metric: str
    suite: str
    tag: str = ""
    """Only the prompts with this tag; empty: all."""
    group: str = ""
    """Only the images of one perceived group, as `gender=feminine`; empty: all."""
    gate: str = ""
    """Name of the gate that asked; empty where none did."""
    outcome: Outcome
    passed: bool = True
    """Whether it lets a run pass: what the exit code, JUnit and every rendering go by."""
    baseline: float | None
    candidate: float | None
    difference: float | None
    """Candidate minus baseline, over the pairs scored on both sides."""
    ci_low: float | None
    ci_high: float | None
    budget: float
    """How much worse is too much, in the metric's unit."""
    floor: float | None = None
    """What the candidate's own value must not be below; None where nothing was asked."""
    ceiling: float | None = None
    num_pairs: int
    num_prompts: int = 0
    num_training_seeds: int = 1
    """Fine-tunes of the candidate whose spread is in the interval. With one, another fine-tune may come out otherwise."""
    test: Literal["", "sign flips", "label permutation", "t"] = ""
    """What the p-value is of; empty where there is none."""
    p_value: float | None = None
    """Two-sided, of no change."""
    p_adjusted: float | None = None
    """The same after Holm, over everything that decides together."""
    smallest_detectable_effect: float | None
    """True change that would be found in 80 % of runs of this size; None where none would, or that is not known."""
    num_prompts_needed: int | None
    """Prompts that would make an inconclusive verdict conclusive, those already drawn among them; None where that is not the outcome."""
    unit: str
    higher_is_better: bool
    reason: str
    """Why this outcome, in one sentence."""
    worst: tuple[WorstSample, ...] = ()
    """Pairs that lost most on this metric and slice, of a gate."""


class Look(Record):
    """The look of a sequential run at which its verdict was reached."""

    number: int
    """From 1."""
    num_prompts: tuple[int, ...]
    """Prompts of the suite that each planned look has seen, those that were not taken among them; the last one sees the whole suite."""
    num_images: int
    """Drawn until it by each fine-tune, of the suite and of the guard suite."""
    num_suite_images: int
    """What both suites would have taken."""
    confidence: float
    """Of its intervals: stricter than what was asked for, which all looks together keep."""
    reason: str
    """Why it was the last one, in one sentence."""


class LookDecision(Versioned):
    """Whether a sequential run could stop at a look, kept so that a second run need not compare again."""

    decided: bool


class RegressionReport(Versioned):
    """The verdict. `compare` is the only place that makes one; everything else renders it."""

    outcome: Literal["passed", "regressed"]
    headline: str
    verdicts: tuple[Verdict, ...]
    """Every metric of every suite. On a suite that gates ask about, only those decide."""
    gates: tuple[Verdict, ...] = ()
    """One for each [[gate]]."""
    worst_samples: tuple[WorstSample, ...]
    guard_worst_samples: tuple[WorstSample, ...] = ()
    """The same of the guard suite; its verdicts are among the others, with its name."""
    tags: tuple[TagDifference, ...] = ()
    """Of every suite and sample metric that could be compared."""
    baseline_name: str
    baseline_digest: str
    candidate_digest: str
    baseline_provenance: Provenance | None
    candidate_provenance: Provenance
    confidence: float
    num_resamples: int
    seed: int
    look: Look | None = None
    """Where it was one of several looks; None for a run that was judged once."""

    @property
    def deciding(self) -> tuple[Verdict, ...]:
        """What the outcome rests on: the gates, and every metric of a suite of which no gate asks anything."""
        gated = {each.suite for each in self.gates}
        return (*self.gates, *(each for each in self.verdicts if each.suite not in gated))

    def verdict(self, metric: str, *, suite: str = "", tag: str = "", group: str = "") -> Verdict:
        """The verdict on a metric: a gate's where one asks for it, and of the run's own suite where `suite` is empty and both have it.

        Args:
            tag, group: of a slice, on which there is a verdict where a gate asks for it.

        Raises:
            LookupError: there is none; the message has those that there are.
        """
        found = [each for each in (*self.gates, *self.verdicts)
                 if (each.metric, each.tag, each.group) == (metric, tag, group) and suite in ("", each.suite)]
        if not found:
            known = sorted({" ".join(filter(None, [each.metric, each.suite, each.tag, each.group])) for each in (*self.gates, *self.verdicts)})
            raise LookupError(f"there is no verdict on {' '.join(filter(None, [metric, suite, tag, group]))}; a slice has one where a [[gate]] asks for it. "
                              f"There are: {', '.join(known) or 'none'}")
        return min(found, key=lambda each: each.suite != self.verdicts[0].suite)


class Acceptance(Versioned):
    """Why a result became the baseline, when, and from which commit."""

    reason: str
    accepted: str
    """UTC, ISO 8601."""
    result_digest: str
    commit: str = ""
    """Of its provenance: of the repository that it was scored in; empty outside of one, and where it was accepted before this was kept."""
    dirty: bool = False
    """Whether there were changes that were not committed."""


class AcceptedState(Record):
    """What a baseline was at one time: its acceptance and what it had scored, without anything of a single image."""

    acceptance: Acceptance
    num_images: int
    """Of its suite."""
    result: BenchmarkResult
    guard: BenchmarkResult | None = None
    """Of its guard suite, where it had one."""


class BaselineHistory(Versioned):
    """What a baseline was before it became what it is."""

    states: tuple[AcceptedState, ...]
    """Oldest first; what it is now stands in acceptance.json and result.json."""
