"""``modrwkv bench busy``: decoding on an idle CPU, and while another program takes one of its cores.

OpenMP's threads wait for each other many times in a token. A thread that spins while it waits keeps a core from whoever
has work; one that sleeps at once takes time to wake up. libgomp reads how long to spin when it is loaded, so every
setting decodes in a process of its own, and the processes take turns.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import torch

from modrwkv_core.backbones.rwkv7 import RWKV7
from modrwkv_core.benchmarking.decode import greedy
from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.interleave import Timing
from modrwkv_core.benchmarking.random_weights import random_backbone
from modrwkv_core.benchmarking.report import Row, TimeReport
from modrwkv_core.benchmarking.sizes import ModelSize
from modrwkv_core.errors import ModRWKVError

__all__ = ["bench_busy"]

VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
RUN = 4  # tokens that are decoded between two looks at the clock
TURN = 0.5  # seconds
IDLE, BUSY = "idle", "one core busy"


def bench_busy(
    size: ModelSize, settings: Mapping[str, Mapping[str, str]], *, threads: int | None, seconds: float
) -> TimeReport:
    """Measure greedy decoding with bfloat16 weights under several settings of the environment.

    Args:
        size: Of the model.
        settings: By name, the values of :data:`VARIABLES`; those that a setting leaves out are unset.
        threads: Number of threads; None leaves it to torch.
        seconds: How long to measure altogether.

    Returns:
        Seconds of a token: the best and the median turn of each setting.
    """
    described = {
        "layers": size.num_layers,
        "hidden size": size.hidden_size,
        "vocabulary": size.vocab_size,
        "threads": threads or "torch's choice",
    }
    report = TimeReport("busy", described, fingerprint("cpu"), "token")
    rounds = max(3, round(seconds / (2 * len(settings) * TURN)))
    times: dict[tuple[str, str], list[float]] = {}
    with contextlib.ExitStack() as stack:
        checkpoint = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model.pth"
        random_backbone(size, checkpoint)
        decoders = {
            name: stack.enter_context(_decoder(checkpoint, threads, chosen)) for name, chosen in settings.items()
        }
        for decoder in decoders.values():
            _turn(decoder)  # waits until all have loaded the model
        for _ in range(rounds):
            for work in (IDLE, BUSY):
                with _busy_core() if work == BUSY else contextlib.nullcontext():
                    for name, decoder in decoders.items():
                        times.setdefault((work, name), []).append(_turn(decoder))
    report.rows = [Row(work, name, Timing.of(times[work, name]), 1, None) for work in (IDLE, BUSY) for name in settings]
    for name in settings:
        idle, busy = (statistics.median(times[work, name]) for work in (IDLE, BUSY))
        report.settings[f"speed kept, {name}"] = f"{idle / busy:.0%}"
    return report


@contextlib.contextmanager
def _decoder(checkpoint: Path, threads: int | None, chosen: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process that decodes when it is asked to."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES} | dict(chosen)
    with subprocess.Popen(
        [sys.executable, "-m", __name__, str(checkpoint), str(threads or 0)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _turn(decoder: subprocess.Popen[str]) -> float:
    assert decoder.stdin is not None
    assert decoder.stdout is not None
    decoder.stdin.write("\n")
    decoder.stdin.flush()
    answer = decoder.stdout.readline()
    if not answer:
        raise ModRWKVError("a process that decodes ended early", hint="its own message is above")
    return float(answer)


@contextlib.contextmanager
def _busy_core() -> Iterator[None]:
    """Keep the last core busy with another program."""
    core = max(os.sched_getaffinity(0))
    loop = f"import os; os.sched_setaffinity(0, {{{core}}}); print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", loop], stdout=subprocess.PIPE, text=True) as neighbor:
        try:
            assert neighbor.stdout is not None
            neighbor.stdout.readline()
            yield
        finally:
            neighbor.kill()


def _serve(checkpoint: Path, threads: int, requests: IO[str], answers: IO[str]) -> None:
    """Answer each line with the seconds that a token took in a turn."""
    if threads:
        torch.set_num_threads(threads)
    model = RWKV7.from_checkpoint(checkpoint).float()
    run = greedy(model.decoder("bfloat16").start(model.init_state(1)).step, 1, RUN)
    for _ in requests:
        started, tokens = time.perf_counter(), 0
        while time.perf_counter() < started + TURN:
            run()
            tokens += RUN
        print((time.perf_counter() - started) / tokens, file=answers, flush=True)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]), sys.stdin, sys.stdout)
