"""``modrwkv bench engine``: many answers together beside one, and a prefix cache beside none."""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

import torch

from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.interleave import interleave
from modrwkv_core.benchmarking.multimodal_data import MultimodalSize, write_run
from modrwkv_core.benchmarking.random_weights import assemble_at_random
from modrwkv_core.benchmarking.report import Row, TimeReport
from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.engine_settings import EngineSettings
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Media, Text, Turn

__all__ = ["bench_engine"]

QUESTIONS: Final = 10
ANSWER_TOKENS: Final = 4  # of each question about the picture


def bench_engine(
    size: MultimodalSize,
    *,
    streams: Sequence[int],
    tokens: int,
    memory_tokens: int,
    weights: str,
    device: str,
    seconds: float,
    processor_time: bool = False,
) -> TimeReport:
    """Measure answers of a model with random weights, and questions about one picture, asked one after the other.

    Args:
        size: Of the model.
        streams: Numbers of answers that are generated together.
        tokens: Of each answer.
        memory_tokens: If not 0, so many tokens are generated at last, and the memory is compared with that after a
            hundredth of them.
        weights: How the backbone's weights are stored for decoding.
        device: Where to compute.
        seconds: How long to measure, all cases together.
        processor_time: Whether the processor time of all threads counts in the place of seconds: other programs
            hardly change it.
    """
    clock = time.process_time if processor_time else time.perf_counter
    settings = {"size": str(size.backbone), "streams": list(streams), "tokens": tokens, "weights": weights}
    settings["clock"] = "processor time" if processor_time else "wall clock"
    report = TimeReport("engine", settings, fingerprint(device), "token")
    with tempfile.TemporaryDirectory() as folder:
        session = _session(Path(folder), size, weights, device)
        picture = Media("image", Path(folder) / "0.jpg")
        with Engine(session, EngineSettings(slots=max(streams), prefix_cache_bytes=0)) as engine:
            cases = {
                f"{count} together" if count > 1 else "one": partial(_answer, engine, count, tokens)
                for count in streams
            }
            timings = interleave(cases, seconds=seconds / 2, device=device, clock=clock)
        for (name, timing), count in zip(timings.items(), streams, strict=True):
            report.rows.append(Row(f"answers of {tokens} tokens", name, timing, count * tokens, None))
        asking = {
            "with a prefix cache": partial(_ask, session, picture, EngineSettings()),
            "without": partial(_ask, session, picture, EngineSettings(prefix_cache_bytes=0)),
        }
        for name, timing in interleave(asking, seconds=seconds / 2, device=device, clock=clock).items():
            work = f"{QUESTIONS} questions about one picture"
            report.rows.append(Row(work, name, timing, QUESTIONS * ANSWER_TOKENS, None))
        if memory_tokens:
            report.appendix = _memory(session, max(streams), memory_tokens)
    return report


def _session(folder: Path, size: MultimodalSize, weights: str, device: str) -> Session:
    loaded = write_run(folder, size, modality="image", train="align", precision="float32", workers=0)
    model = assemble_at_random(loaded, device)
    if device != "cpu":
        model.backbone.to(torch.bfloat16)
    session = Session(loaded, model.eval(), folder, weights=weights)
    # No answer ends by itself, so that all have the same length.
    session.banned = session.banned.new_tensor([*session.banned.tolist(), *session.ends])
    return session


def _question(*parts: Text | Media) -> tuple[Turn]:
    return (Turn("user", parts),)


def _answer(engine: Engine, count: int, tokens: int) -> None:
    requests = [Request(_question(Text(f"Tell me {index}.")), max_tokens=tokens) for index in range(count)]
    for generation in [engine.submit(request) for request in requests]:
        generation.result()


def _ask(session: Session, picture: Media, settings: EngineSettings) -> None:
    with Engine(session, settings) as engine:
        for index in range(QUESTIONS):
            turns = _question(picture, Text(f"What is at place {index}?"))
            engine.submit(Request(turns, max_tokens=ANSWER_TOKENS)).result()


def _memory(session: Session, streams: int, tokens: int) -> str:
    def follow(engine: Engine, index: int, count: int) -> None:
        request = Request(_question(Text(f"Tell me {index}.")), max_tokens=max(1, count // streams))
        deque(engine.submit(request), maxlen=0)

    resident = []
    settings = EngineSettings(slots=streams, prefix_cache_bytes=0)
    with Engine(session, settings) as engine, ThreadPoolExecutor(streams) as threads:
        for count in (max(1, tokens // 100), tokens):
            for waiting in [threads.submit(follow, engine, index, count) for index in range(streams)]:
                waiting.result()
            resident.append(_resident_mib())
    return f"resident memory: {resident[0]:.1f} MiB after {tokens // 100} tokens, {resident[1]:.1f} after {tokens} more"


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20
