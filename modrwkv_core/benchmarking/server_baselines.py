"""``modrwkv bench server-baselines``: the server beside PyPI's rwkvserve, with the same weights."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch

from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.report import Goal, GoalReport
from modrwkv_core.benchmarking.server import Server, free_port, running, serve_command, train_run
from modrwkv_core.benchmarking.sizes import ModelSize
from modrwkv_core.benchmarking.streaming_client import HOST
from modrwkv_core.errors import ModRWKVError
from modrwkv_core.interop.backbone import backbone_of_run
from modrwkv_core.model.run import RunFolder

__all__ = ["bench_server_baselines"]

OURS: Final = "modrwkv serve"
BASELINE: Final = "rwkvserve"
OTHER_EVENTS: Final = 3  # than tokens, in a stream of the baseline: the role, the reason of the end, [DONE]
MIN_ROUNDS: Final = 3


@dataclass(slots=True)
class Turns:
    """What a server did in its turns.

    Attributes:
        seconds: Of each turn.
        answers_s: Seconds until each answer was complete.
    """

    seconds: list[float] = field(default_factory=list)
    answers_s: list[float] = field(default_factory=list)

    @property
    def p95_s(self) -> float:
        """The time within which 95 % of the answers were complete."""
        return statistics.quantiles(self.answers_s, n=20, method="inclusive")[-1]


def bench_server_baselines(
    size: ModelSize, *, clients: Sequence[int], tokens: int, weights: str, device: str, seconds: float
) -> GoalReport:
    """Measure both servers in turns, each in a process of its own.

    Args:
        size: Of the model; the vocabulary is World's.
        clients: Numbers of clients that ask at the same time.
        tokens: Of each answer.
        weights: How our server stores the backbone's weights; the baseline chooses for itself.
        device: Where to compute.
        seconds: How long to measure altogether.

    Raises:
        ModRWKVError: A server does not start, or an answer has another length than it ought to have.
    """
    settings = {"size": str(size), "clients": list(clients), "tokens": tokens, "weights": weights}
    report = GoalReport("server-baselines", settings, fingerprint(device))
    if find_spec(BASELINE) is None:
        report.missing[BASELINE] = "it is not installed: pip install rwkvserve==0.1.0"
        return report
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        run = train_run(Path(folder), size, device)
        model = _write_model(run, Path(folder) / BASELINE)
        most = max(clients)
        ours, theirs = free_port(), free_port()
        commands = {
            OURS: (serve_command(run, ours, most, max(256, most), weights, device), ours),
            BASELINE: (_baseline_command(model, theirs, most, device), theirs),
        }
        servers = {
            name: stack.enter_context(running(command, port, tokens)) for name, (command, port) in commands.items()
        }
        for count in clients:
            turns = _measure(servers, count, seconds / len(clients))
            report.rows += _compare(turns, count, tokens)
    report.settings["load average afterwards"] = [round(load, 2) for load in os.getloadavg()]
    return report


def _write_model(run: Path, folder: Path) -> Path:
    """Write the weights of a run as the baseline reads them: official names, its own configuration, World's words."""
    tensors = backbone_of_run(RunFolder(run)).state_dict()
    folder.mkdir()
    torch.save(tensors, folder / "model.pth")
    config = {
        "model_type": "rwkv7",
        "n_layer": sum(name.endswith(".att.w1") for name in tensors),
        "n_embd": tensors["emb.weight"].shape[1],
        "vocab_size": tensors["emb.weight"].shape[0],
        "dim_att_lora": tensors["blocks.1.att.w1"].shape[1],  # also of the rate: the two must be equal
        "dim_mv_lora": tensors["blocks.1.att.v1"].shape[1],
        "dim_gate_lora": tensors["blocks.1.att.g1"].shape[1],
        "dim_ffn": tensors["blocks.1.ffn.key.weight"].shape[0],
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = find_spec(BASELINE)
    assert found is not None
    assert found.submodule_search_locations is not None
    (package,) = found.submodule_search_locations
    (words,) = Path(package).glob("data/tokenizers/vocab/*.txt")
    (folder / words.name).write_bytes(words.read_bytes())
    return folder


def _baseline_command(model: Path, port: int, slots: int, device: str) -> list[str]:
    options = {"host": HOST, "port": port, "model-path": model, "model-name": "bench", "device": device}
    options["max-batch-size"] = slots
    arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "rwkvserve.cli.serve", *arguments]


def _measure(servers: dict[str, Server], clients: int, seconds: float) -> dict[str, Turns]:
    turns = {name: Turns() for name in servers}
    for name, server in servers.items():
        asyncio.run(_turn(name, server, clients, Turns()))  # warms up
    end = time.monotonic() + seconds
    rounds = 0
    while rounds < MIN_ROUNDS or time.monotonic() < end:
        rounds += 1
        for name, server in servers.items():
            asyncio.run(_turn(name, server, clients, turns[name]))
    return turns


async def _turn(name: str, server: Server, clients: int, turns: Turns) -> None:
    """Let all clients ask one question at once."""
    began = time.perf_counter()
    answers = await asyncio.gather(*(server.ask(index) for index in range(clients)))
    turns.seconds.append(time.perf_counter() - began)
    for answer in answers:
        tokens = answer.events - OTHER_EVENTS if answer.tokens is None else answer.tokens
        if tokens != server.tokens or answer.last_s is None or not answer.is_complete:
            raise ModRWKVError(
                f"an answer of {name} has {tokens} tokens instead of {server.tokens}",
                hint="the model ended it; try another number of --tokens",
            )
        turns.answers_s.append(answer.last_s)


def _compare(turns: dict[str, Turns], clients: int, tokens: int) -> list[Goal]:
    work = f"{clients} clients" if clients > 1 else "1 client"
    speeds = {name: clients * tokens / statistics.median(one.seconds) for name, one in turns.items()}
    p95s = {name: one.p95_s for name, one in turns.items()}
    return [
        *(Goal(work, name, speed, "tokens/s") for name, speed in speeds.items()),
        Goal(work, "ratio of tokens/s", speeds[OURS] / speeds[BASELINE], "", at_least=1),
        *(Goal(work, f"{name}, p95 of an answer", 1e3 * p95, "ms") for name, p95 in p95s.items()),
        Goal(work, "ratio of p95", p95s[OURS] / p95s[BASELINE], "", at_most=1),
    ]
