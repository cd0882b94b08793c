"""Does `sana-bench plan` say what training takes? The peak memory of real training steps, measured, beside what the plan says of them.

    python benchmarks/plan.py                                                        # tiny-sana and a Sana of 154 M parameters, on the CPU
    python benchmarks/plan.py --device cuda --model sana_1600m_2k --trainer lora full --resolution 2048 --batch 1 2 --checkpointing on
    python benchmarks/plan.py --device cuda --model sana_1600m_2k --phases

Weights are random, in the real architecture; each case runs in a process of its own. On a CPU the peak is counted from the allocator's own events
(torch.profiler), on CUDA it is `torch.cuda.max_memory_allocated`. Beside it stand how far the resident memory of a CPU process rose during the case,
and the seconds of a step. Exit code 1 where a plan is off by more than 15 %.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

TOLERANCE = 0.15
MID = {"num_attention_heads": 24, "num_cross_attention_heads": 8, "cross_attention_head_dim": 96, "cross_attention_dim": 768, "caption_channels": 2304,
       "num_layers": 16, "patch_size": 1}
MODELS = {"tiny": ("tiny", {}), "mid": ("tiny", MID), "sana_1600m_2k": ("sana_1600m_2k_lora", {})}
"""Recipe, and how the transformer differs from that of its base."""
RESOLUTIONS = {"tiny": (512, 1024), "mid": (512,), "sana_1600m_2k": (2048,)}


@dataclass(frozen=True)
class Case:
    """One training."""

    model: str
    trainer: str
    resolution: int
    batch: int
    checkpointing: bool
    mixed_precision: str = "bf16"
    optimizer: str = "adamw"
    accumulation: int = 1
    device: str = "cpu"

    def config(self):
        """RunConfig."""
        from sana_bench.config import load_config

        settings = {"trainer": self.trainer, "resolution": self.resolution, "train_batch_size": self.batch, "gradient_checkpointing": self.checkpointing,
                    "mixed_precision": self.mixed_precision, "optimizer": self.optimizer, "gradient_accumulation_steps": self.accumulation}
        drawn = (f"generate.height={self.resolution}", f"generate.width={self.resolution}")
        return load_config(MODELS[self.model][0], (*drawn, *(f"train.{name}={json.dumps(value)}" for name, value in settings.items())))

    def architecture(self):
        from sana_bench.plan.architecture import Architecture, read_architecture

        base = read_architecture(self.config().model)
        return Architecture({**base.configs, "transformer": {**base.configs["transformer"], **MODELS[self.model][1]}}, base.origin)


def planned_bytes(case: Case) -> int:
    from sana_bench.plan.training_phase import step_memory

    config = case.config()
    return step_memory(case.architecture(), config, config.train.stages[-1], cuda=case.device == "cuda").peak


def measure(case: Case) -> dict:
    """Peak bytes and seconds of a real step that is not the first one, as the trainers do it."""
    import torch

    from sana_bench.plan.trainee import PREPARE
    from sana_bench.training.fine_tune import make_trainee
    from sana_bench.training.group import join

    config, torch_device = case.config(), torch.device(case.device)
    torch.manual_seed(0)
    with _default(getattr(torch, config.model.transformer_dtype)), torch_device:
        transformer = case.architecture().build("transformer", torch.get_default_dtype())
    PREPARE[case.trainer](transformer, config.train)
    trainee = make_trainee(transformer, config.train, join(config.train, "cuda:0" if case.device == "cuda" else "cpu"))
    batch = _batch(transformer, config)

    def step() -> None:
        _step(trainee, config, batch)

    step()
    resident, start = _resident_peak(), time.perf_counter()
    step()
    _synchronize(case.device)
    seconds = time.perf_counter() - start
    alive = [*transformer.parameters(), *transformer.buffers()]
    alive += [value for slots in trainee.optimizer.state.values() for value in slots.values() if isinstance(value, torch.Tensor)]
    peak = peak_bytes(step, alive, case.device)
    return {"measured": peak, "seconds": seconds, "resident": resident, "parameters": sum(parameter.numel() for parameter in transformer.parameters())}


@contextmanager
def _default(dtype):
    import torch

    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def _batch(transformer, config):
    import torch

    from sana_bench.models import LATENT_PX
    from sana_bench.training.batches import Batch

    size, number, tokens = config.train.resolution // LATENT_PX, config.train.train_batch_size, config.generate.max_sequence_length
    latents, noise = torch.randn(2, number, transformer.config.in_channels, size, size)
    return Batch(latents, noise, torch.rand(number), torch.randn(number, tokens, transformer.config.caption_channels),
                 torch.ones(number, tokens, dtype=torch.int64), None)


def _step(trainee, config, batch) -> None:
    """One step of the trainers' own loop."""
    import torch

    from sana_bench.training.fine_tune import _loss
    from sana_bench.training.loop import LoopSettings, _step as loop_step

    settings = LoopSettings(total_steps=1, learning_rate=1e-5, gradient_accumulation_steps=config.train.gradient_accumulation_steps)
    loop_step(settings, trainee, 0, lambda step, micro: _loss(trainee, config.train, batch, torch.Generator().manual_seed(0)))


def planned_phases(case: Case) -> dict[str, int]:
    """Of encoding and drawing, by phase."""
    from sana_bench.plan.inference_phases import drawing_memory, encoding_memory

    cuda, config, architecture = case.device == "cuda", case.config(), case.architecture()
    phases = [*encoding_memory(architecture, config, cuda=cuda), *drawing_memory(architecture, config, cuda=cuda)]
    return {phase.name: sum(phase.parts.values()) for phase in phases}


def measure_phases(case: Case) -> dict[str, int]:
    """Peak bytes of real encoding and drawing, by phase: the pipeline's own calls, with what it has loaded then."""
    import torch

    from sana_bench.generation.sampling import set_tiling
    from sana_bench.models import LATENT_PX
    from sana_bench.plan.inference_phases import CAPTIONS, DECODE, DENOISE, PICTURES, num_tokens

    config, device, parts = case.config(), torch.device(case.device), {}
    settings, found = config.generate, {}

    def load(name: str) -> None:
        with _default(getattr(torch, getattr(config.model, f"{name}_dtype"))), device:
            parts[name] = case.architecture().build(name, torch.get_default_dtype()).eval()

    def run(phase: str, call) -> None:
        with torch.no_grad():
            call()  # the first time, libraries set themselves up
            alive = [tensor for part in parts.values() for tensor in (*part.parameters(), *part.buffers())]
            found[phase] = peak_bytes(call, alive, case.device)

    def random(*shape: int, part: str) -> torch.Tensor:
        return torch.randn(shape, device=device, dtype=parts[part].dtype)

    load("vae"), load("text_encoder")
    ids = torch.ones(1, num_tokens(settings), dtype=torch.int64, device=device)
    run(CAPTIONS, lambda: parts["text_encoder"](ids, attention_mask=torch.ones_like(ids)))
    del parts["text_encoder"]
    run(PICTURES, lambda: parts["vae"].encode(random(1, 3, case.resolution, case.resolution, part="vae")))
    load("transformer"), load("text_encoder")
    number, size = settings.batch_size * 2, (settings.height // LATENT_PX, settings.width // LATENT_PX)
    channels, width = parts["transformer"].config.in_channels, parts["transformer"].config.caption_channels
    run(DENOISE, lambda: parts["transformer"](
        random(number, channels, *size, part="transformer"), timestep=torch.ones(number, device=device),
        encoder_hidden_states=random(number, settings.max_sequence_length, width, part="transformer"),
        encoder_attention_mask=torch.ones(number, settings.max_sequence_length, dtype=torch.int64, device=device)))
    set_tiling(parts["vae"], settings)
    run(DECODE, lambda: parts["vae"].decode(random(settings.batch_size, channels, *size, part="vae")))
    return found


def peak_bytes(step, alive: list, device: str) -> int:
    """Most bytes of tensors at once while `step` runs, those of `alive` among them, by the allocator's own count."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = sorted((event.start_ns(), event.nbytes()) for event in profile.profiler.kineto_results.events() if event.name() == "[memory]")
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in alive}
    return sum(storages.values()) + max(itertools.accumulate(size for _, size in events))


def _synchronize(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def _resident_peak() -> int | None:
    """Bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run_case(case: Case) -> dict:
    """In this process, which is good for one case: resident memory never falls."""
    import torch

    import sana_bench.training.fine_tune  # what its import takes is not the case's
    del sana_bench
    torch.zeros(1, device=case.device)
    before = _resident_peak()
    if case.trainer == "none":
        planned, measured = planned_phases(case), measure_phases(case)
        return {**asdict(case), "phases": {name: {"planned": planned[name], "measured": size, "off": planned[name] / size - 1} for name, size in measured.items()}}
    measured = measure(case)
    rise = None if before is None else measured.pop("resident") - before
    planned = planned_bytes(case)
    return {**asdict(case), **measured, "resident_rise": rise, "planned": planned, "off": planned / measured["measured"] - 1,
            "torch": torch.__version__, "device_name": torch.cuda.get_device_name() if case.device == "cuda" else "cpu"}


def _phase_rows(found: dict) -> str:
    return "\n".join(f"| {found['model']} | {name} | {found['resolution']} | | | | {each['planned'] / 1e9:.3f} | {each['measured'] / 1e9:.3f} | {each['off']:+.1%} | | |"
                     for name, each in found["phases"].items())


def _errors(found: dict) -> list[float]:
    return [abs(each["off"]) for each in found["phases"].values()] if "phases" in found else [abs(found["off"])]


def cases_of(arguments: argparse.Namespace) -> list[Case]:
    if arguments.phases:
        return [Case(model, "none", resolution, 1, False, device=arguments.device)
                for model in arguments.model for resolution in arguments.resolution or RESOLUTIONS[model]]
    return [Case(model, trainer, resolution, batch, checkpointing == "on", precision, arguments.optimizer, arguments.accumulation, arguments.device)
            for model in arguments.model for trainer in arguments.trainer for resolution in arguments.resolution or RESOLUTIONS[model]
            for batch in arguments.batch for checkpointing in arguments.checkpointing for precision in arguments.mixed_precision]


def _row(found: dict) -> str:
    rise = "-" if found["resident_rise"] is None or found["device"] != "cpu" else f"{found['resident_rise'] / 1e9:.2f}"
    return (f"| {found['model']}, {found['parameters'] / 1e6:.0f} M | {found['trainer']}, {found['optimizer']} | {found['resolution']} | {found['batch']} x "
            f"{found['accumulation']} | {found['mixed_precision']} | {'yes' if found['checkpointing'] else 'no'} | {found['planned'] / 1e9:.3f} | "
            f"{found['measured'] / 1e9:.3f} | {found['off']:+.1%} | {rise} | {found['seconds']:.2f} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--model", nargs="+", default=["tiny", "mid"], choices=list(MODELS))
    parser.add_argument("--trainer", nargs="+", default=["lora", "full"], choices=("lora", "full"))
    parser.add_argument("--resolution", nargs="+", type=int)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--checkpointing", nargs="+", default=["off", "on"], choices=("off", "on"))
    parser.add_argument("--mixed-precision", nargs="+", default=["bf16"], choices=("no", "bf16"))
    parser.add_argument("--optimizer", default="adamw", choices=("adamw", "adamw_8bit", "came"))
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--phases", action="store_true", help="encoding and drawing instead of training")
    parser.add_argument("--out", type=Path, help="write everything that was found as JSON")
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(run_case(Case(**arguments.case))))
        return 0
    print("| model | trainer, optimizer | px | batch | precision | checkpointing | planned GB | measured GB | off | resident GB | s a step |\n|" + "---|" * 11)
    found = []
    for case in cases_of(arguments):
        words = [sys.executable, str(Path(__file__).resolve()), "--case", json.dumps(asdict(case))]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"{case} failed:\n{done.stderr[-2000:]}", file=sys.stderr)
            continue
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print((_phase_rows if arguments.phases else _row)(found[-1]), flush=True)
        if arguments.out:
            arguments.out.write_text(json.dumps(found, indent=1))
    return int(len(found) < len(cases_of(arguments)) or any(error > TOLERANCE for each in found for error in _errors(each)))


if __name__ == "__main__":
    sys.exit(main())
