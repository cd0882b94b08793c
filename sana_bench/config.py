"""RunConfig: everything a run is told, typed and frozen. A recipe (TOML) plus `--set section.key=value` makes one.

Names are diffusers' for sampling, LoRA and training. An unknown key, a wrong type and a value out of range are all
reported together, with the nearest known key.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from sana_bench.errors import ConfigError
from sana_bench.registry import near_names
from sana_bench.shipped import shipped_folder
from sana_bench.train_config import DataSection, Positive, Section, Side, TrainSection

Dtype = Literal["float32", "bfloat16", "float16"]
FLOW_MATCHING_TRAINERS = ("lora", "full")
KIND_OF_VALUE = re.compile(r"(literal|tuple)\[")
"""What pydantic puts behind a key that takes several kinds of values: the one of which a problem is."""


class ModelSection(Section):
    """The base model that is fine-tuned."""

    base: str = "tiny-sana"
    """`tiny-sana` (embedded), a folder in diffusers layout, or a hub id."""
    revision: str = ""
    """Commit of a hub id; required for one, so that a run can be repeated."""
    variant: str = ""
    """Weight file variant of a hub id, such as `bf16`."""
    transformer_dtype: Dtype = "float32"
    """Must match how the checkpoint was trained: bfloat16 for *_BF16 bases."""
    text_encoder_dtype: Literal["float32", "bfloat16"] = "float32"
    """float16 overflows in Gemma-2, so it is not offered."""
    vae_dtype: Literal["float32", "bfloat16"] = "float32"
    """float16 can decode to black, so it is not offered."""


class GenerateSection(Section):
    """Sampling. All of it is part of a sample's identity."""

    height: Side = 2048
    width: Side = 2048
    num_images_per_prompt: Positive = 1
    seed: Annotated[int, Field(ge=0)] = 0
    """Another seed, another noise for every image: only images of the same seed are pairs."""
    num_inference_steps: Positive = 20
    guidance_scale: Annotated[float, Field(ge=0)] = 4.5
    """Classifier-free guidance; 1.0 or less switches it off and halves the cost."""
    negative_prompt: str = ""
    scheduler: Literal["flow_dpm_solver", "flow_euler", "scm"] = "flow_dpm_solver"
    """`scm` is for bases of the family Sana-Sprint, which draw in one to four steps, with the guidance scale as an input of the model: there is no
    second pass with a negative prompt, and no flow shift."""
    flow_shift: Annotated[float, Field(gt=0)] = 3.0
    max_sequence_length: Positive = 300
    complex_human_instruction: bool = True
    """Put Sana's instruction in front of each prompt, as the released models were trained."""
    use_resolution_binning: bool = False
    """Draw at the nearest of Sana's sizes and resize back. Off: exact sizes, no resampling of pixels that are judged."""
    batch_size: Positive = 1
    vae_tile_size: Annotated[int, Field(ge=0, multiple_of=32)] = 0
    """Decode in tiles of so many pixels, at least 64; 0 decodes whole. Tiling changes pixels."""
    vae_tile_stride: Annotated[int, Field(ge=0, multiple_of=32)] = 0
    """Pixels from one tile to the next; 0 is seven eighths of a tile."""

    @model_validator(mode="after")
    def _check_family(self) -> GenerateSection:
        if self.scheduler == "scm" and (self.negative_prompt or self.flow_shift != GenerateSection.model_fields["flow_shift"].default):
            raise ValueError("Sana-Sprint (scheduler scm) knows no negative_prompt and no flow_shift: leave both out")
        return self


class ClipModelSection(Section):
    """A CLIP of your own, which is the extractor `clip_<name>` and has the metrics `clip_score_<name>`, `kid_clip_<name>` and so on."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]
    model: str
    """An architecture of open_clip; or `hf-hub:OWNER/NAME` or `local-dir:FOLDER`, which bring their own weights."""
    pretrained: str = ""
    """A tag of open_clip, or a file with weights in open_clip's or transformers' layout."""
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    """What the weights must hash to. They count by their content either way."""
    prefix: str = ""
    """Put before every prompt, such as `A photo depicts `."""


class ScoreSection(Section):
    """What is measured."""

    suite: str = "tiny_humans"
    """A shipped suite by name, or a path to a suite file."""
    prompt_form: Literal["long", "short"] = "long"
    """Which form of its prompts is drawn and scored."""
    metrics: tuple[str, ...] = ()
    """Registered metrics; empty means the usual ones (`sana-bench metrics list`)."""
    extra_metrics: tuple[str, ...] = ()
    """Measured beside them, such as `fid` or `clip_score_vit_l_14_openai`."""
    clip_model: tuple[ClipModelSection, ...] = ()
    guard_suite: str = ""
    """A second suite, of what the fine-tune was not meant to change: drawn, scored and compared beside the first. Empty: none."""
    guard_metrics: Annotated[tuple[str, ...], Field(min_length=1)] = ("drift_efficientnet_lite0", "kid_to_base_efficientnet_lite0")
    """What is measured on it. Distances to the base model's own images need these, which are drawn once a base and suite."""


class BudgetOverride(Section):
    """A practical budget that replaces a metric's own."""

    metric: str
    budget: Annotated[float, Field(ge=0)]


class CompareSection(Section):
    """How a verdict is reached."""

    baseline: str = ""
    """A shipped or local baseline by name, or a path; empty means the recipe's name."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    num_resamples: Annotated[int, Field(ge=100)] = 2000
    seed: int = 0
    budgets: tuple[BudgetOverride, ...] = ()
    num_looks: Positive = 1
    """Draw the suite in so many blocks of prompts, look at the verdict after each, and stop where every gate is decided. Each look costs some
    power: the chance of a false alarm is shared among them."""


class GateSection(Section):
    """What must hold. Each `[[gate]]` is one test in CI."""

    name: Annotated[str, Field(max_length=120)] = ""
    """How reports call it; empty: made of what it asks."""
    metric: str
    """A metric that passed its self-test."""
    suite: str = ""
    """The run's suite or its guard suite by name; empty: the run's suite."""
    tag: str = ""
    """Only prompts with this tag."""
    group: Annotated[str, Field(pattern=r"^((gender|age|skin_tone)=[a-z0-9_]+)?$")] = ""
    """Only images of one perceived group, as `gender=feminine`."""
    floor: float | None = None
    """The candidate's own value must not be below."""
    ceiling: float | None = None
    """The candidate's own value must not be above."""
    budget: Annotated[float | None, Field(ge=0)] = None
    """How much worse than the baseline is too much, in the metric's unit; without it, a relative budget, a floor or a ceiling: the metric's own."""
    relative_budget: Annotated[float | None, Field(gt=0, lt=1)] = None
    """The same as a share of the baseline's value: 0.05 is five percent."""
    on_inconclusive: Literal["fail", "pass"] = "fail"
    """What too few samples mean."""

    @model_validator(mode="after")
    def _check_demands(self) -> GateSection:
        if self.budget is not None and self.relative_budget is not None:
            raise ValueError("give budget or relative_budget, not both")
        if self.tag and self.group:
            raise ValueError("give tag or group, not both")
        if self.floor is not None and self.ceiling is not None and self.floor > self.ceiling:
            raise ValueError(f"no value is above the floor {self.floor} and below the ceiling {self.ceiling}")
        return self

    @property
    def label(self) -> str:
        """Its name, or what it asks, as `hand_rate[tag=portrait]`."""
        slices = ", ".join(filter(None, [self.suite, f"tag={self.tag}" if self.tag else "", self.group]))
        return self.name or f"{self.metric}{f'[{slices}]' if slices else ''}"

    @property
    def compares(self) -> bool:
        """Whether it needs a baseline."""
        limits = self.floor is not None or self.ceiling is not None
        return not limits or self.budget is not None or self.relative_budget is not None


def refuse_twins(gates: tuple[GateSection, ...]) -> None:
    """Raises ValueError where two gates have the same label."""
    labels = [gate.label for gate in gates]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ValueError(f"two gates are called {', '.join(twice)}: give each a name of its own")


class RunSection(Section):
    """Where things go and what they run on. Nothing here changes a result's identity but `device`."""

    store: str = "~/.cache/sana-bench/store"
    """Folder of the artifact store; what is in it is never made again."""
    reports: str = "reports"
    """Folder that receives one run folder a run."""
    baselines: str = "baselines"
    """Folder of accepted baselines; the shipped ones are looked up after it."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    num_workers: Annotated[int, Field(ge=0)] = 0
    """Threads that decode and look at images, each with detectors of about 400 MiB; 0 is as many as there are processors, up to eight."""


class RunConfig(Section):
    """A whole run."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
    """Names the run folder and the baseline."""
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    train: TrainSection = TrainSection()
    generate: GenerateSection = GenerateSection()
    score: ScoreSection = ScoreSection()
    compare: CompareSection = CompareSection()
    gate: tuple[GateSection, ...] = ()
    """What must hold; with none, nothing that is measured may regress."""
    run: RunSection = RunSection()

    @model_validator(mode="after")
    def _check_gates(self) -> RunConfig:
        refuse_twins(self.gate)
        return self

    @model_validator(mode="after")
    def _check_objective(self) -> RunConfig:
        if self.generate.scheduler == "scm" and self.train.trainer in FLOW_MATCHING_TRAINERS:
            raise ValueError(f"train.trainer {self.train.trainer} trains by flow matching, and Sana-Sprint (generate.scheduler scm) was distilled with another "
                             f"objective: it can be evaluated (train.trainer none or external), not trained")
        return self

    @model_validator(mode="after")
    def _check_elsewhere(self) -> RunConfig:
        named = [f"train.{name}" for name in ("weights", "command") if getattr(self.train, name)]
        if self.train.trainer in FLOW_MATCHING_TRAINERS and named:
            raise ValueError(f"{' and '.join(named)} would do nothing: train.trainer {self.train.trainer} trains weights of its own. Use "
                             f"--set train.trainer=external to evaluate weights that are made elsewhere")
        return self

    @model_validator(mode="after")
    def _check_tiles(self) -> RunConfig:
        if self.generate.vae_tile_stride > self.generate.vae_tile_size:
            raise ValueError("generate.vae_tile_stride must not exceed generate.vae_tile_size")
        return self


S = TypeVar("S", bound=Section)


def shipped_recipes() -> dict[str, Path]:
    """Recipes in the package, by name."""
    return {path.stem: path for path in sorted(shipped_folder("recipes").glob("*.toml"))}


def load_config(recipe: str = "tiny", overrides: tuple[str, ...] = ()) -> RunConfig:
    """Read a recipe (a shipped name or a path to a TOML file) and apply `section.key=value` overrides.

    An override's value is read as TOML (`3`, `true`, `[1, 2]`, `"text"`); what is not TOML is taken as text.

    Raises:
        ConfigError: no such recipe, not TOML, or problems in it: all of them in one message.
    """
    path = shipped_recipes().get(recipe, Path(recipe))
    try:
        values = read_toml(path)
    except OSError as error:
        raise ConfigError(f'no recipe "{recipe}" ({error.strerror}).{near_names(recipe, list(shipped_recipes()))} '
                          f'Shipped: {", ".join(shipped_recipes())}') from error
    for override in overrides:
        _apply_override(values, override)
    values.setdefault("name", path.stem)
    return validate(RunConfig, values, path.name)


def read_toml(path: Path) -> dict:
    """Raises OSError, or ConfigError where it is not TOML."""
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def validate(kind: type[S], values: dict, file_name: str) -> S:
    """Raises ConfigError: all problems in one message, under the name of the file."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = "\n".join(f"  {_explain(problem, kind)}" for problem in error.errors())
        raise ConfigError(f"{file_name} has {error.error_count()} problem(s):\n{problems}") from error


def _apply_override(values: dict, override: str) -> None:
    key, equals, text = override.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not last:
        raise ConfigError(f'--set takes section.key=value, not "{override}"')
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f'--set {override}: "{section}" is a value, not a section')
    values[last] = value


def _explain(problem: dict, section: type[BaseModel]) -> str:
    """`train.max_train_stepz: unknown key. Did you mean "max_train_steps"?`; `section` is the whole document's."""
    location = ".".join(str(part) for part in problem["loc"] if not KIND_OF_VALUE.match(str(part))) or "as a whole"
    if problem["type"] != "extra_forbidden":
        message = "Input should be a list, as [...]" if problem["type"] == "tuple_type" else problem["msg"].removeprefix("Value error, ")
        return f"{location}: {message}" + ("" if isinstance(problem["input"], dict) else f" (got {problem['input']!r:.80})")
    for part in problem["loc"][:-1]:
        if isinstance(part, int):
            continue  # a place in a list of sections
        annotation = section.model_fields[part].annotation
        section = next(iter(get_args(annotation)), annotation)
    known = list(section.model_fields)
    return f"{location}: unknown key.{near_names(str(problem['loc'][-1]), known)} Known: {', '.join(known)}"
