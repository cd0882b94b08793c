"""What a recipe says about training: the images, and the fine-tune. Names are diffusers' and peft's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[int, Field(gt=0)]
Side = Annotated[int, Field(gt=0, multiple_of=32)]
"""Side of an image in pixels; the autoencoder works on multiples of 32."""


class Section(BaseModel):
    """Base of every part of a RunConfig."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class MixSection(Section):
    """Images that are trained on beside `data.training`, such as general ones that keep a fine-tune on people from forgetting the rest."""

    source: str
    """As `data.training`."""
    share: Annotated[float, Field(gt=0, lt=1)]
    """Of all samples that are trained on, exactly, however many images it has."""


class BalanceSection(Section):
    """Bounds on the share of one perceived group among the samples in which its attribute is perceived at all."""

    group: Annotated[str, Field(pattern=r"^(gender|age|skin_tone)=[a-z0-9_]+$")]
    """Such as `gender=feminine`."""
    min_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    max_share: Annotated[float, Field(ge=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _check_order(self) -> BalanceSection:
        if self.min_share > self.max_share:
            raise ValueError(f"no share is at least {self.min_share} and at most {self.max_share}")
        return self


class DataSection(Section):
    """Where images come from: `openpeople:training`, `openpeople:reference`, or a Hugging Face imagefolder."""

    training: str = "openpeople:training"
    reference: str = "openpeople:reference"
    """Real people that the Fréchet distances compare with; nobody in it may be in `training`."""
    mix: tuple[MixSection, ...] = ()
    """Further sources; `training` has what they leave of all samples."""
    balance: tuple[BalanceSection, ...] = ()
    """How often samples of perceived groups are trained on; empty: as often as there are images of them."""

    @model_validator(mode="after")
    def _check_shares(self) -> DataSection:
        total = sum(each.share for each in self.mix)
        if total >= 1:
            raise ValueError(f"the shares of data.mix add up to {total:g} and leave nothing for data.training; they must stay below 1")
        names = [Path(name).expanduser() for name in (self.training, *(each.source for each in self.mix))]
        if len(set(names)) < len(names):
            raise ValueError("data.mix names a source twice, or data.training; give each source once")
        return self

    @property
    def sources(self) -> dict[str, float]:
        """Share of all samples by source."""
        return {self.training: 1 - sum(each.share for each in self.mix), **{each.source: each.share for each in self.mix}}


class StageSection(Section):
    """A part of training at one resolution."""

    resolution: Side
    max_train_steps: Positive
    train_batch_size: Positive = 1
    gradient_accumulation_steps: Positive = 1
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4


class RegionsSection(Section):
    """More weight on faces and hands, found by the detectors that score them."""

    face_weight: Annotated[float, Field(ge=1, le=100)] = 1.0
    """Weight of the loss inside of faces, relative to the rest; 1 is off."""
    hand_weight: Annotated[float, Field(ge=1, le=100)] = 1.0
    """The same inside of hands."""
    crop_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the samples of each source that are zoomed crops around a face or a hand instead of whole images."""
    crop_caption: str = "close-up of the {region}, {caption}"
    """Caption of such a crop."""
    max_enlargement: Annotated[float, Field(ge=1)] = 1.5
    """A crop is cut as wide as keeps its pixels from being enlarged by more; blurred crops would teach blur."""

    @property
    def needs_people(self) -> bool:
        """Whether training images must be looked at."""
        return self.face_weight > 1 or self.hand_weight > 1 or self.crop_share > 0


class AugmentSection(Section):
    """Views of each image beside the untouched one. Each is drawn by the sample and its number, encoded once, and seen in turn, epoch by epoch."""

    num_views: Positive = 1
    """Views of an image, the untouched one among them; 1 switches augmentation off."""
    flip: bool = True
    """Mirror half of the views, never where the caption names left or right."""
    rotation: Annotated[float, Field(ge=0, le=15)] = 0.0
    """Turn by up to so many degrees either way; what has no pixels is cut off."""
    crop: Annotated[float, Field(ge=0, le=0.3)] = 0.0
    """Cut away up to this share of each side."""
    lighting: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Change brightness and contrast by up to this share. Off by default: it shifts skin tone."""

    @model_validator(mode="after")
    def _check_views(self) -> AugmentSection:
        idle = [name for name in ("rotation", "crop", "lighting") if getattr(self, name)]
        if self.num_views == 1 and idle:
            raise ValueError(f"{', '.join(idle)} would do nothing: of each image there is the untouched view alone. Say with num_views how many there are")
        return self


class TrainSection(Section):
    """The short fine-tune."""

    trainer: str = "lora"
    """A registered trainer: `lora`, `full`, `external` (benchmark weights made elsewhere) or `none` (the base model itself)."""
    weights: str = ""
    """For the trainer `external`: a LoRA as diffusers saves it, a folder in diffusers layout, or a checkpoint (.pth) of NVlabs' train.py. With a
    command, where that command leaves them, relative to its output folder; empty: the newest that it left."""
    weights_ema: bool = False
    """Of a checkpoint of train.py, take the moving average of the weights (`state_dict_ema`). Off, as in train.py itself."""
    command: tuple[str, ...] = ()
    """For the trainer `external`: what makes the weights, program and arguments; `{output}` stands for the folder to write into. It
    runs again where it says something else, or a script or settings file that it names has changed; what these read is up to you."""
    seed: Annotated[int, Field(gt=-(2**62), lt=2**62)] = 0
    num_seeds: Positive = 1
    """Train so many variants, with the seeds `seed`, `seed` + 1 and so on: the verdict then holds for the recipe and not for one fine-tune of it."""
    earlier_stage: tuple[StageSection, ...] = ()
    """Stages before the one that the next five settings describe, at lower resolutions as a rule. Each has the learning rate schedule anew."""
    resolution: Side = 2048
    """Side of the square training views, or of the square that buckets have the area of, in pixels."""
    max_train_steps: Positive = 500
    train_batch_size: Positive = 1
    """Of each process."""
    gradient_accumulation_steps: Positive = 1
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    aspect_ratio_buckets: bool = False
    """Fit each image to the nearest of Sana's sizes at that resolution (512, 1024, 2048 or 4096) instead of a square."""
    lr_scheduler: Literal["constant", "linear", "cosine"] = "constant"
    lr_warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Of each stage, which must be longer."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    optimizer: Literal["adamw", "adamw_8bit", "came"] = "adamw"
    """`adamw_8bit` needs the package bitsandbytes, `came` the package came-pytorch."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Keep an exponential moving average of the trained weights and save that; 0 saves the weights themselves."""
    mixed_precision: Literal["no", "bf16"] = "no"
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, a third more time."""
    compile: bool = False
    """torch.compile the transformer: minutes once, then faster steps."""
    num_processes: Positive = 1
    """Processes that train together, one a GPU, started by sana-bench through accelerate."""
    strategy: Literal["ddp", "fsdp2"] = "ddp"
    """How several processes share the model: each has a copy, or weights, gradients and optimizer are cut among them."""
    rank: Positive = 16
    lora_alpha: Positive = 16
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    use_dora: bool = False
    """Weight-decomposed LoRA, as peft offers it."""
    use_rslora: bool = False
    """Scale adapters by alpha / sqrt(rank) instead of alpha / rank."""
    target_modules: Literal["attention", "attention_out", "all"] | Annotated[tuple[str, ...], Field(min_length=1)] = "attention"
    """Layers that get an adapter: `attention` (queries, keys and values), `attention_out` (and the projections behind them), `all` (and the 1x1
    convolutions of the feed-forward, which hold 47 % of the weights), or the last parts of names, such as `to_q` or `attn1.to_q`."""
    trainable_modules: Literal["all", "attention", "cross_attention"] | Annotated[tuple[str, ...], Field(min_length=1)] = "all"
    """What the trainer `full` trains: all, all attention, cross-attention, or modules by the last parts of their names."""
    last_blocks: Annotated[int, Field(ge=0)] = 0
    """Of these, what is in the last so many transformer blocks; 0 is all."""
    flow_shift: Annotated[float, Field(gt=0)] = 3.0
    weighting_scheme: Literal["none", "logit_normal", "mode"] = "logit_normal"
    """How noise levels are drawn before they are shifted: uniformly (`none`), logit-normal, or by Stable Diffusion 3's `mode`."""
    logit_mean: float = 0.0
    logit_std: Annotated[float, Field(gt=0)] = 1.0
    mode_scale: Annotated[float, Field(ge=-1, le=1.75)] = 1.29
    caption_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of samples that see the empty caption, which classifier-free guidance needs."""
    checkpointing_steps: Positive = 50
    """A killed run loses at most so many steps."""
    regions: RegionsSection = RegionsSection()
    augment: AugmentSection = AugmentSection()

    @model_validator(mode="after")
    def _check_warmup(self) -> TrainSection:
        shortest = min(stage.max_train_steps for stage in self.stages)
        if self.lr_warmup_steps and self.lr_warmup_steps >= shortest:
            raise ValueError(f"lr_warmup_steps ({self.lr_warmup_steps}) leaves no step at the full learning rate in a stage of {shortest} steps "
                             f"(max_train_steps); it must be lower")
        return self

    @property
    def stages(self) -> tuple[StageSection, ...]:
        """All stages in their order."""
        return (*self.earlier_stage, StageSection(**{name: getattr(self, name) for name in StageSection.model_fields}))
