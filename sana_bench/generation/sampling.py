"""Draw samples with a pipeline of Sana or Sana-Sprint: one noise a sample, settings as they are recorded."""

from __future__ import annotations

import hashlib
import inspect

import numpy as np

from sana_bench.config import GenerateSection, ModelSection
from sana_bench.errors import GenerationError, ModelError
from sana_bench.generation.tiling import check_tiling
from sana_bench.models import LATENT_PX, SPRINT, check_size

SAMPLING_VERSION = 1
"""Goes up when the same settings draw other pixels."""
SPRINT_MAX_TIMESTEP, SPRINT_INTERMEDIATE_TIMESTEP = 1.57080, 1.3
"""Angles at which Sprint's first and, of two, second step begin: the pipeline's defaults, with which its results are published."""


def instruction_of(settings: GenerateSection) -> list[str] | None:
    """Sana's own complex human instruction (the pipeline's default), or None where the recipe switches it off."""
    from diffusers import SanaPipeline

    if not settings.complex_human_instruction:
        return None
    return inspect.signature(SanaPipeline.__call__).parameters["complex_human_instruction"].default


def build_scheduler(settings: GenerateSection):
    """The scheduler that the recipe names, with its flow shift where it has one."""
    from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, SCMScheduler

    if settings.scheduler == "scm":
        return SCMScheduler()
    if settings.scheduler == "flow_euler":
        return FlowMatchEulerDiscreteScheduler(shift=settings.flow_shift)
    return DPMSolverMultistepScheduler(flow_shift=settings.flow_shift, use_flow_sigmas=True, prediction_type="flow_prediction")


def prepare_pipeline(pipeline, settings: GenerateSection) -> None:
    """Check family and size, set scheduler and tiling. Tiling is set up front: at 2K an out-of-memory decode is not recovered from.

    Raises:
        ModelError: the base cannot draw with these settings.
    """
    check_drawable(type(pipeline).__name__, pipeline.transformer.config, settings)
    pipeline.scheduler = build_scheduler(settings)
    set_tiling(pipeline.vae, settings)


def check_drawable(family: str, transformer_config, settings: GenerateSection) -> None:
    """Find out, without weights and so before hours of training, whether a base can draw with these settings.

    Args:
        family: class of its pipeline.

    Raises:
        ModelError: it needs another scheduler or another size.
    """
    if (family == SPRINT) != (settings.scheduler == "scm"):
        needed = "scm" if family == SPRINT else "flow_dpm_solver or flow_euler"
        raise ModelError(f"a base of the class {family} is drawn with generate.scheduler {needed}, not {settings.scheduler}")
    check_size(transformer_config, settings.width, settings.height)


def set_tiling(vae, settings: GenerateSection) -> None:
    """Have the autoencoder decode in the recipe's tiles, if it has any."""
    if settings.vae_tile_size:
        stride = settings.vae_tile_stride or settings.vae_tile_size * 7 // 8 // LATENT_PX * LATENT_PX
        vae.enable_tiling(tile_sample_min_height=settings.vae_tile_size, tile_sample_min_width=settings.vae_tile_size,
                          tile_sample_stride_height=stride, tile_sample_stride_width=stride)


def sampling_record(settings: GenerateSection, model: ModelSection, device: str) -> dict[str, str | int | float | bool | None]:
    """Every setting that decides pixels, flat, for the SampleSet: two sets are comparable only where all are equal.

    The noise is not in it: that is what each sample's own seed says. None is a setting that the base's family does not have.
    """
    record = settings.model_dump(exclude={"num_images_per_prompt", "seed"})
    if settings.scheduler == "scm":
        record |= {"negative_prompt": None, "flow_shift": None, **_sprint_timesteps(settings)}
    record |= {f"{name}_dtype": getattr(model, f"{name}_dtype") for name in ("transformer", "text_encoder", "vae")}
    instruction = "\n".join(instruction_of(settings) or [])
    record["complex_human_instruction_sha256"] = hashlib.sha256(instruction.encode()).hexdigest()[:16] if instruction else ""
    record["device"] = device.partition(":")[0]
    return record


def _sprint_timesteps(settings: GenerateSection) -> dict[str, float | None]:
    """The scheduler takes an intermediate one for two steps only; more are spread evenly."""
    return {"max_timesteps": SPRINT_MAX_TIMESTEP, "intermediate_timesteps": SPRINT_INTERMEDIATE_TIMESTEP if settings.num_inference_steps == 2 else None}


def draw(pipeline, settings: GenerateSection, prompts: list[str], seeds: list[int]) -> list[np.ndarray]:
    """Draw one image a prompt, each (height, width, 3) uint8.

    Every image has a CPU generator of its own, so its noise depends on its seed alone, not on the batch.

    Raises:
        GenerationError: the autoencoder's tiles would lose pixels, an image has another size than asked for, or is black (an overflow in half precision).
    """
    import torch

    check_tiling(pipeline.vae, settings.width, settings.height)
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
    of_family = _sprint_timesteps(settings) if settings.scheduler == "scm" else {"negative_prompt": settings.negative_prompt}
    images = pipeline(
        prompt=prompts, generator=generators, height=settings.height, width=settings.width, num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale, max_sequence_length=settings.max_sequence_length,
        use_resolution_binning=settings.use_resolution_binning, complex_human_instruction=instruction_of(settings), clean_caption=False,
        **of_family).images
    pixels = [np.asarray(image.convert("RGB")) for image in images]
    for prompt, array in zip(prompts, pixels, strict=True):
        check_image(array, settings, prompt)
    return pixels


def check_image(pixels_HW3: np.ndarray, settings: GenerateSection, prompt: str) -> None:
    height, width = pixels_HW3.shape[:2]
    if (width, height) != (settings.width, settings.height):
        raise GenerationError(f'the image of "{prompt:.60}" is {width}x{height}, not {settings.width}x{settings.height}; with '
                              f"tiling, check generate.vae_tile_size and vae_tile_stride")
    if pixels_HW3.max() == 0:
        raise GenerationError(f'the image of "{prompt:.60}" is all black: some part overflowed in '
                              f"half precision; use bfloat16 or float32 (model.*_dtype)")
