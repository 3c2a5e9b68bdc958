"""``modrwkv bench server``: the server beside its bare engine, under load, and with clients that leave."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import torch

from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.interleave import interleave
from modrwkv_core.benchmarking.report import Goal, GoalReport
from modrwkv_core.benchmarking.sizes import ModelSize
from modrwkv_core.benchmarking.streaming_client import HOST, Streamed, get, stream
from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.engine_settings import EngineSettings
from modrwkv_core.inference.loading import load
from modrwkv_core.inference.request import Request
from modrwkv_core.interfaces.record import Text, Turn
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.training.loop import train

__all__ = ["Server", "bench_server", "free_port", "running", "serve_command", "train_run"]

QUESTIONS: Final = 64  # that differ; so many that the prefix cache has seen all of them after the warm-up
STARTUP_SECONDS: Final = 300.0
IDLE_SECONDS: Final = 60.0  # within which the slots of clients that have left must be free
SAMPLES: Final = 50  # of the server's memory
LAST_LINES: Final = 10  # of what a server that does not start writes to stderr, for the error


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs.

    Attributes:
        process: Its process.
        port: Where it listens.
        tokens: Of each answer.
    """

    process: subprocess.Popen[bytes]
    port: int
    tokens: int

    async def ask(self, index: int, leave_after: int | None = None) -> Streamed:
        """Ask one question; each ``index`` has one of a few."""
        messages = [{"role": "user", "content": _question(index)}]
        body = {"model": "bench", "messages": messages, "max_tokens": self.tokens, "temperature": 0}
        return await stream(self.port, body, leave_after=leave_after)

    def memory_mib(self) -> float:
        """Return the resident memory of its process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a time under load.

    Attributes:
        answers: Of all clients.
        errors: Answers that were refused, broke or ended with an error.
        incomplete: Answers of too few tokens.
        first_s: Seconds to the first event of each answer.
        memory_mib: Samples of the server's memory, in order.
    """

    answers: int
    errors: int
    incomplete: int
    first_s: list[float]
    memory_mib: list[float]


def bench_server(
    size: ModelSize,
    *,
    streams: int,
    slots: int,
    tokens: int,
    clients: int,
    weights: str,
    device: str,
    seconds: float,
) -> GoalReport:
    """Measure a server in a process of its own, with a model that was trained for one step.

    Args:
        size: Of the model.
        streams: Clients that ask at the same time, each again and again.
        slots: Answers that the server writes at a time.
        tokens: Of each answer.
        clients: Clients that leave before their answer is complete.
        weights: How the backbone's weights are stored for decoding.
        device: Where to compute.
        seconds: How long to measure: one half beside the engine, the other under load.

    Raises:
        ModRWKVError: The server does not start, or an answer ends by itself.
    """
    settings = {"size": str(size), "streams": streams, "slots": slots, "tokens": tokens, "weights": weights}
    report = GoalReport("server", settings, fingerprint(device))
    with tempfile.TemporaryDirectory() as folder:
        run = train_run(Path(folder), size, device)
        port = free_port()
        with running(serve_command(run, port, slots, max(256, streams), weights, device), port, tokens) as server:
            report.rows += _beside_engine(server, run, streams, slots, weights, device, seconds / 2)
            report.rows += _under_load(server, streams, seconds / 2)
            free = asyncio.run(_leave(server, clients, streams, slots))
            work = f"{clients} clients leave at random"
            report.rows.append(Goal(work, "free slots afterwards", free, "", at_least=slots))
    report.settings["load average afterwards"] = [round(load, 2) for load in os.getloadavg()]
    return report


def _question(index: int) -> str:
    return f"Tell me {index % QUESTIONS}."


def train_run(folder: Path, size: ModelSize, device: str) -> Path:
    """Train a model for one step, so that it goes on with a sentence; return its run, whose name is ``bench``."""
    talk = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello to all of you. " * 9}]
    (folder / "talks.jsonl").write_text(json.dumps({"messages": talk}) + "\n", encoding="utf-8")
    manifest: dict[str, Any] = {
        "modrwkv": 1,
        "name": "bench",
        "tokenizer": {"type": "world" if size.vocab_size > 2**15 else "bytes"},
        "backbone": {"type": "rwkv7", "num_layers": size.num_layers, "hidden_size": size.hidden_size},
        "data": {"train": [{"source": "chat", "path": "talks.jsonl"}], "workers": 0},
        "phases": [{"name": "pretrain", "train": ["backbone"], "lr": 1e-4, "steps": 1}],
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    train(load_manifest(path), folder / "bench", resume=False, device=device, progress_bar=False)
    return folder / "bench"


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])


def serve_command(run: Path, port: int, slots: int, queue: int, weights: str, device: str) -> list[str]:
    """Return the command that serves a run."""
    options = {"port": port, "slots": slots, "queue": queue, "weights": weights, "device": device}
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "modrwkv_core", "serve", str(run), *arguments]


@contextmanager
def running(command: Sequence[str], port: int, tokens: int) -> Iterator[Server]:
    """Run a server in a process of its own; it is ready when it lists its models.

    Raises:
        ModRWKVError: It does not start; the message ends with what it wrote to stderr last.
    """
    with (
        tempfile.TemporaryFile() as stderr,  # a pipe that nobody reads would stop the server once it is full
        subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        ) as process,
    ):
        try:
            if not asyncio.run(_becomes_ready(process, port)):
                raise _no_start(process.poll(), stderr, command)
            yield Server(process, port, tokens)
        finally:
            process.kill()


async def _becomes_ready(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + STARTUP_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if (await get(port, "/v1/models"))[0] == 200:
                return True
        except OSError:
            pass
        await asyncio.sleep(0.1)
    return False


def _no_start(code: int | None, stderr: IO[bytes], command: Sequence[str]) -> ModRWKVError:
    """Return the error about a server that ended with ``code``, or that runs and does not answer."""
    if code is None:
        message = f"a server did not answer within {STARTUP_SECONDS:.0f} s"
    else:
        message = f"a server ended with exit code {code} before it answered"
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").splitlines()[-LAST_LINES:]
    if lines:
        message = "\n  ".join([f"{message}; it said last:", *lines])
    return ModRWKVError(message, hint=f"try it by itself: {shlex.join(command)}")


def _beside_engine(
    server: Server, run: Path, streams: int, slots: int, weights: str, device: str, seconds: float
) -> list[Goal]:
    """Compare the tokens of a second of as many answers at once, over HTTP and from an engine in this process."""
    with Engine(
        load(run, device=device, weights=weights), EngineSettings(slots=slots, queue=max(256, streams))
    ) as engine:
        cases: dict[str, Callable[[], object]] = {
            "engine": partial(_answer, engine, streams, server.tokens),
            "server": lambda: asyncio.run(_ask_all(server, streams)),
        }
        timings = interleave(cases, seconds=seconds, device=device)
    speeds = {name: streams * server.tokens / timing.median for name, timing in timings.items()}
    work = f"{streams} streams at once"
    return [
        Goal(work, "bare engine", speeds["engine"], "tokens/s"),
        Goal(work, "server", speeds["server"], "tokens/s"),
        Goal(work, "server / engine", 100 * speeds["server"] / speeds["engine"], "%", at_least=95),
    ]


def _answer(engine: Engine, count: int, tokens: int) -> None:
    requests = [Request((Turn("user", (Text(_question(index)),)),), max_tokens=tokens) for index in range(count)]
    for generation in [engine.submit(request) for request in requests]:
        _check_length(generation.result().usage.completion_tokens, tokens)


async def _ask_all(server: Server, count: int) -> None:
    for streamed in await asyncio.gather(*(server.ask(index) for index in range(count))):
        _check_length(streamed.tokens, server.tokens)


def _check_length(tokens: int | None, wanted: int) -> None:
    if tokens != wanted:
        raise ModRWKVError(
            f"an answer has {tokens} tokens instead of {wanted}", hint="the model ended it; try another --size"
        )


def _under_load(server: Server, streams: int, seconds: float) -> list[Goal]:
    found = asyncio.run(_load(server, streams, seconds))
    work = f"{streams} streams for {seconds:.0f} s"
    median = statistics.median(found.first_s)
    p99 = statistics.quantiles(found.first_s, n=100, method="inclusive")[98] if len(found.first_s) > 1 else median
    # The first fifth is the warm-up; the last fifth is compared with the one after it.
    fifth = len(found.memory_mib) // 5
    before, after = (
        statistics.median(found.memory_mib[at : at + fifth]) for at in (fifth, len(found.memory_mib) - fifth)
    )
    return [
        Goal(work, "answers", found.answers, ""),
        Goal(work, "errors", found.errors, "", at_most=0),
        Goal(work, "incomplete answers", found.incomplete, "", at_most=0),
        Goal(work, "time to first token, median", 1e3 * median, "ms"),
        Goal(work, "time to first token, p99", 1e3 * p99, "ms"),
        Goal(work, "p99 / median", p99 / median, "", at_most=3),
        Goal(work, "memory after warm-up", before, "MiB"),
        Goal(work, "growth of memory", 100 * (after / before - 1), "%", at_most=2),
    ]


async def _load(server: Server, streams: int, seconds: float) -> Load:
    """Ask with all clients until the time is over, and wait for the answers that are open then."""
    end = time.monotonic() + seconds
    streamed: list[Streamed | OSError] = []

    async def go_on(client: int) -> None:
        index = client
        while time.monotonic() < end:
            try:
                streamed.append(await server.ask(index))
            except OSError as error:
                streamed.append(error)
            index += streams

    memory = []
    asking = [asyncio.create_task(go_on(client)) for client in range(streams)]
    for _ in range(SAMPLES):
        await asyncio.sleep(seconds / SAMPLES)
        memory.append(server.memory_mib())
    await asyncio.gather(*asking)
    answered = [one for one in streamed if isinstance(one, Streamed) and one.is_complete]
    return Load(
        answers=len(streamed),
        errors=len(streamed) - len(answered),
        incomplete=sum(one.tokens != server.tokens for one in answered),
        first_s=[one.first_s for one in answered if one.first_s is not None],
        memory_mib=memory,
    )


async def _leave(server: Server, clients: int, streams: int, slots: int) -> int:
    """Let clients close their connections at any moment; return the slots that are free soon after."""
    chance = random.Random(0)
    limit = asyncio.Semaphore(max(streams, 2 * slots))

    async def begin(index: int, leave_after: int) -> None:
        async with limit:
            await server.ask(index, leave_after)

    await asyncio.gather(*(begin(index, chance.randrange(server.tokens)) for index in range(clients)))
    deadline = time.monotonic() + IDLE_SECONDS
    while (free := await _free_slots(server)) < slots and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return free


async def _free_slots(server: Server) -> int:
    _, text = await get(server.port, "/metrics")
    found = re.search(r'^modrwkv_free_slots\{model="bench"\} ([0-9.]+)$', text, re.MULTILINE)
    return 0 if found is None else int(float(found[1]))
