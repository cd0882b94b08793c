"""Does `sana-bench plan` say what training takes? The peak memory of real steps, measured, beside what the plan says.

    python benchmarks/plan.py                                                        # tiny-sana and a Sana of 160 M parameters, on the CPU
    python benchmarks/plan.py --device cuda --model sana_1600m_2k --trainer lora --resolution 2048 --batch 1 2

Weights are random, in the real architecture; each case runs in a process of its own. On a CPU the peak is counted from the allocator's own events
(torch.profiler), on CUDA it is `torch.cuda.max_memory_allocated`. Beside it stand the peak resident set of the process and the seconds of a step.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

TOLERANCE = 0.15
MODELS = {"tiny": {}, "mid": {"num_attention_heads": 24, "num_cross_attention_heads": 8, "cross_attention_head_dim": 96, "cross_attention_dim": 768,
                              "caption_channels": 2304, "num_layers": 16, "patch_size": 1}, "sana_1600m_2k": {}}
"""How the transformer differs from that of the recipe's base."""
RECIPES = {"tiny": "tiny", "mid": "tiny", "sana_1600m_2k": "sana_1600m_2k_lora"}


def case_config(case: dict):
    """RunConfig of one case."""
    from sana_bench.config import load_config

    settings = [f"train.{name}={json.dumps(case[name])}" for name in ("trainer", "mixed_precision", "gradient_checkpointing")]
    dtype = "float32" if case["model"] != "sana_1600m_2k" else "bfloat16"
    return load_config(RECIPES[case["model"]], (*settings, f"model.transformer_dtype={dtype}", "train.gradient_accumulation_steps=1"))


def case_architecture(case: dict, config):
    from sana_bench.plan.architecture import Architecture, read_architecture

    base = read_architecture(config.model)
    return Architecture({**base.configs, "transformer": {**base.configs["transformer"], **MODELS[case["model"]]}}, base.origin)


def planned_bytes(case: dict) -> int:
    from sana_bench.plan.training_phase import step_memory

    config = case_config(case)
    memory = step_memory(case_architecture(case, config), config, resolution=case["resolution"], batch_size=case["batch"], cuda=case["device"] == "cuda")
    return sum(memory.parts.values())


def measured(case: dict) -> dict:
    """Peak bytes and seconds of a real step that is not the first one."""
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    from sana_bench.plan.trainee import prepare_trainee, weights_dtype

    config, device = case_config(case), case["device"]
    torch.manual_seed(0)
    torch.set_default_dtype(weights_dtype(config))
    with torch.device(device):
        transformer = case_architecture(case, config).build("transformer", weights_dtype(config)).requires_grad_(False)
    torch.set_default_dtype(torch.float32)
    prepare_trainee(transformer, config.train)
    AcceleratorState._reset_state(reset_partial_state=True)  # a process may measure several cases
    accelerator = Accelerator(mixed_precision=case["mixed_precision"], cpu=device == "cpu")
    trained = [parameter for parameter in transformer.parameters() if parameter.requires_grad]
    model, optimizer = accelerator.prepare(transformer.train(), torch.optim.AdamW(trained))
    inputs = _inputs(transformer, config, case)

    def step() -> None:
        _train_step(accelerator, model, trained, optimizer, inputs)

    step()
    start = time.perf_counter()
    step()
    seconds = time.perf_counter() - start
    alive = [*transformer.parameters(), *transformer.buffers(), *inputs]
    alive += [value for slots in optimizer.optimizer.state.values() for value in slots.values() if isinstance(value, torch.Tensor)]
    return {"bytes": peak_bytes(step, alive, device), "seconds": seconds, "rss": _resident_peak()}


def _inputs(transformer, config, case: dict) -> tuple:
    import torch

    from sana_bench.models import LATENT_PX
    from sana_bench.plan.trainee import weights_dtype

    size, batch, tokens, device = case["resolution"] // LATENT_PX, case["batch"], config.generate.max_sequence_length, case["device"]
    dtype = weights_dtype(config) if config.train.mixed_precision == "no" else torch.float32
    latents, noise = (torch.randn(batch, transformer.config.in_channels, size, size, device=device, dtype=dtype) for _ in range(2))
    embeds = torch.randn(batch, tokens, transformer.config.caption_channels, device=device, dtype=dtype)
    return latents, noise, torch.rand(batch), embeds, torch.ones(batch, tokens, dtype=torch.int64, device=device)


def _train_step(accelerator, model, trained: list, optimizer, inputs: tuple) -> None:
    """As training/loop.py and training/lora.py do it."""
    import torch

    from sana_bench.training.flow_matching import flow_matching_loss

    with accelerator.autocast():
        loss = flow_matching_loss(model, *inputs)
    accelerator.backward(loss)
    del loss
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def peak_bytes(step, alive: list, device: str) -> int:
    """Most bytes of tensors at once while `step` runs, those of `alive` among them, by the allocator's own count."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = sorted((event.start_ns(), event.nbytes()) for event in profile.profiler.kineto_results.events() if event.name() == "[memory]")
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in alive}
    return sum(storages.values()) + max(itertools.accumulate(size for _, size in events))


def _resident_peak() -> int | None:
    """Bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
