"""Training speed of RWKV-7 on the CPU: tokens per second of forward, backward and optimiser step.

Run as ``python benchmarks/train_cpu.py [--threads N] [--repeats N]``. Of each case the fastest step counts: what else
the machine does only ever adds time. Prints a table and a JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import torch
from fingerprint import fingerprint
from modrwkv_kernels import explain_dispatch
from torch.nn import functional as F  # noqa: N812

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config

VOCAB = 512  # Larger ones measure the output projection.
TRUNKS = {"small": (4, 128), "medium": (4, 256), "0.1B": (12, 768)}
ROWS, TOKENS = 4, 256


def training_step(layers: int, width: int, precision: torch.dtype) -> Callable[[], None]:
    """Return a function that trains a fresh trunk on one batch of random tokens."""
    torch.manual_seed(0)
    model = RWKV7(RWKV7Config(layers=layers, width=width), VOCAB)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(0, VOCAB, (ROWS, TOKENS + 1))

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            hidden, _ = model(model.embed(ids[:, :-1]))
            logits = model.logits(hidden)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def best_seconds(step: Callable[[], None], repeats: int) -> float:
    """Return the shortest of some runs after a warm-up."""
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure every trunk in both precisions and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=5, help="measured steps of each case (default: 5)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    machine = fingerprint()
    print(f"{'trunk':<10}{'layers x width':>16}{'precision':>12}{'tokens/s':>12}")
    speeds: dict[str, float] = {}
    for name, (layers, width) in TRUNKS.items():
        for precision in (torch.float32, torch.bfloat16):
            half = str(precision).removeprefix("torch.")
            speed = ROWS * TOKENS / best_seconds(training_step(layers, width, precision), arguments.repeats)
            speeds[f"{name} {half}"] = round(speed, 1)
            print(f"{name:<10}{f'{layers} x {width}':>16}{half:>12}{speed:>12.1f}")
    report = {
        "benchmark": "train_cpu",
        "threads": arguments.threads,
        "rows": ROWS,
        "tokens": TOKENS,
        "vocabulary": VOCAB,
        "kernel": explain_dispatch().chosen,
        "tokens_per_second": speeds,
        "machine": machine,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
