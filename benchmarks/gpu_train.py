"""Training speed of RWKV-7 on a GPU: tokens per second of forward, backward and optimiser step, and peak memory.

Run as ``python benchmarks/gpu_train.py [--cases 0.45B:8:4096 ...] [--recompute cheap] [--profile]``. A case is a size,
a number of rows and their length. Everything is bfloat16: weights, gradients, moments. Rivals of the same size take
turns with ours. Prints a table and a JSON object.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import re
import statistics
from collections.abc import Callable
from typing import Any

import torch
from fingerprint import fingerprint
from modrwkv_kernels import explain_dispatch, linear_cross_entropy
from modrwkv_kernels.fused import arguments as fused_arguments
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config

VOCAB = 65536
SIZES = {"tiny": (2, 256), "0.1B": (12, 768), "0.45B": (24, 1024), "1.5B": (24, 2048)}
CASES = ["0.45B:8:4096", "0.45B:1:65536", "1.5B:4:4096"]
WARM_UP, STEPS, ROUNDS = 3, 5, 2

Loss = Callable[[Tensor, Tensor], Tensor]

GROUPS = {
    "recurrence": "^(prepare|walk|walk_back|gradient)_kernel|wkv",
    "fused stages": "token_shift|_prepare_|_readout_|relu_squared",
    "cross-entropy": "cross_entropy",
    "stages of the compiler": "^triton_",
    "matrix products": "gemm|nvjet|cutlass|cublas|splitK",
    "optimiser": "multi_tensor|fused_adam",
    "copies": "[Mm]emcpy|[Mm]emset|copy_kernel|CatArray",
}


def ours(layers: int, width: int, options: argparse.Namespace) -> tuple[nn.Module, Loss]:
    """Build our RWKV-7."""
    with torch.device(options.device):
        config = RWKV7Config(layers=layers, width=width, kernel=options.kernel, recompute=options.recompute)
        model = RWKV7(config, VOCAB)
    if options.compile:
        torch._dynamo.config.recompile_limit = 2 * layers
        for block in model.blocks:
            block.compile(fullgraph=True)

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        hidden, _ = model(model.embed(inputs))
        return linear_cross_entropy(hidden.flatten(0, 1), model.output_weight, targets.flatten()) / targets.numel()

    return model, loss


def llama(layers: int, width: int, options: argparse.Namespace) -> tuple[nn.Module, Loss]:
    """Build a Transformer with as many parameters."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        max_position_embeddings=2**20,
        use_cache=False,
    )
    with torch.device(options.device):
        model = LlamaForCausalLM(config)
    forward = torch.compile(model.model) if options.compile else model.model
    weight = model.lm_head.weight

    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        hidden = forward(inputs).last_hidden_state
        # With our loss: without it the scores alone would decide.
        return linear_cross_entropy(hidden.flatten(0, 1), weight, targets.flatten()) / targets.numel()

    return model, loss


def fla(layers: int, width: int, options: argparse.Namespace) -> tuple[nn.Module, Loss]:
    """Build flash-linear-attention's RWKV-7."""
    from fla.models import RWKV7Config as FlaConfig
    from fla.models import RWKV7ForCausalLM

    config = FlaConfig(vocab_size=VOCAB, hidden_size=width, num_hidden_layers=layers, head_dim=64, use_cache=False)
    with torch.device(options.device):
        model = RWKV7ForCausalLM(config)
    return model, lambda inputs, targets: model(input_ids=inputs, labels=targets).loss


CONTESTANTS = {"ours": ours, "llama": llama, "fla": fla}


def training_step(name: str, case: str, options: argparse.Namespace) -> tuple[Callable[[], Tensor], int]:
    """Return a function that trains a fresh model on random tokens, and the model's number of parameters."""
    size, rows, tokens = case.split(":")
    torch.manual_seed(0)
    model, loss_of = CONTESTANTS[name](*SIZES[size], options)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2 and not parameter.any():
                # Zeros would leave much of the chip asleep and the clock too high.
                parameter.normal_(std=0.02)
    model.to(torch.bfloat16)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(0, VOCAB, (int(rows), int(tokens) + 1), device=options.device)

    def step() -> Tensor:
        for part in ids.chunk(options.accumulate):
            loss = loss_of(part[:, :-1], part[:, 1:])
            (loss * len(part) / len(ids)).backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss.detach()

    return step, sum(parameter.numel() for parameter in model.parameters())


def timed(step: Callable[[], Tensor]) -> list[float]:
    """Milliseconds of each step after the warm-up."""
    for _ in range(WARM_UP):
        step()
    torch.cuda.reset_peak_memory_stats()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(STEPS + 1)]
    marks[0].record()
    for mark in marks[1:]:
        step()
        mark.record()
    torch.cuda.synchronize()
    return [first.elapsed_time(second) for first, second in itertools.pairwise(marks)]


def profiled(step: Callable[[], Tensor]) -> dict[str, float]:
    """Print where one step spends the GPU's time; return milliseconds by group of kernels."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        step()
        torch.cuda.synchronize()
    kernels = [event for event in recorded.key_averages() if event.device_type == torch.autograd.DeviceType.CUDA]
    kernels.sort(key=lambda event: -event.self_device_time_total)
    total = sum(event.self_device_time_total for event in kernels)
    print(f"{'ms':>9}{'share':>8}{'calls':>7}  kernel")
    for event in kernels[:40]:
        spent = event.self_device_time_total
        print(f"{spent / 1e3:9.2f}{spent / total:8.1%}{event.count:7}  {event.key[:110]}")
    groups = dict.fromkeys((*GROUPS, "others"), 0.0)
    for event in kernels:
        group = next((name for name, pattern in GROUPS.items() if re.search(pattern, event.key)), "others")
        groups[group] += event.self_device_time_total / 1e3
    return {name: round(spent, 2) for name, spent in groups.items()}


def measure(name: str, case: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train a fresh model for a few steps and return the figures."""
    try:
        step, parameters = training_step(name, case, options)
        if options.device == "cpu":  # Shows that it runs; there is nothing to measure.
            return {"loss": float(step()), "parameters": parameters}
        times = timed(step)
        figures: dict[str, Any] = {
            "times_ms": [round(time, 2) for time in times],
            "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
            "loss": round(float(step()), 4),
            "parameters": parameters,
        }
        if options.profile and name == "ours":
            figures["profile_ms"] = profiled(step)
        return figures
    except torch.OutOfMemoryError as error:
        return {"error": str(error).splitlines()[0]}
    finally:
        step = None
        gc.collect()
        torch.cuda.empty_cache()


def main() -> None:
    """Let all contestants take turns on every case and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=CASES, help=f"size:rows:tokens; sizes: {', '.join(SIZES)}")
    parser.add_argument("--rivals", nargs="*", default=[], choices=["llama", "fla"])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of every contestant (default: 2)")
    parser.add_argument("--recompute", choices=["none", "cheap", "all"], default="none", help="in the backward pass")
    parser.add_argument("--accumulate", type=int, default=1, help="parts of a batch, one after the other (default: 1)")
    parser.add_argument("--compile", action="store_true", help="torch.compile blocks (of rivals: the whole model)")
    parser.add_argument("--plain", action="store_true", help="plain torch in place of the fused Triton stages")
    parser.add_argument("--kernel", default="auto", help="backend of the recurrence")
    parser.add_argument("--profile", action="store_true", help="print the kernels that take longest")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    options = parser.parse_args()
    if options.plain:
        fused_arguments.runs_triton = lambda x: False
    machine = fingerprint()
    if options.device == "cuda":
        machine["gpu"] = torch.cuda.get_device_name()
    results: dict[str, dict[str, Any]] = {}
    for case in options.cases:
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in ("ours", *options.rivals)}
        for turn in range(options.rounds):
            options.profile = options.profile and turn == 0
            for name, figures in rounds.items():
                figures.append(measure(name, case, options))
        results[case] = {name: summary(case, figures) for name, figures in rounds.items()}
        for name, figures in results[case].items():
            print(f"{case:<16}{name:<8}{json.dumps(figures)}", flush=True)
    report = {
        "benchmark": "gpu_train",
        "options": {
            name: getattr(options, name)
            for name in ("recompute", "accumulate", "compile", "plain", "kernel", "rounds", "rivals")
        },
        "recurrence": explain_dispatch(options.kernel, device=options.device, dtype=torch.bfloat16).chosen,
        "results": results,
        "machine": machine,
    }
    print(json.dumps(report, indent=2))


def summary(case: str, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Put a contestant's turns together: the median step counts."""
    merged = {name: value for figures in rounds for name, value in figures.items() if name != "times_ms"}
    times = [time for figures in rounds for time in figures.get("times_ms", [])]
    if times:
        _, rows, tokens = case.split(":")
        median = statistics.median(times)
        merged |= {
            "tokens_per_second": round(int(rows) * int(tokens) / median * 1e3),
            "median_ms": round(median, 2),
            "spread_ms": [min(times), max(times)],
        }
    return merged


if __name__ == "__main__":
    main()
