"""``modrwkv bench multimodal-train``: training on images or sounds, from files to optimizer steps."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch.profiler import ProfilerActivity

from modrwkv_core.benchmarking.baselines import MissingBaselineError
from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.multimodal_cases import Case, LoaderCase, NanoVLMCase, OurCase, PaddedCase, Work
from modrwkv_core.benchmarking.multimodal_data import MultimodalSize, write_run
from modrwkv_core.benchmarking.report import Report
from modrwkv_core.model.assemble import assemble
from modrwkv_core.training.attention import no_cudnn_attention
from modrwkv_core.training.denormals import flush_denormals
from modrwkv_core.training.flops import device_peak
from modrwkv_core.training.metrics import peak_memory

__all__ = ["ThroughputReport", "bench_multimodal_train"]

MIN_ROUNDS = 3
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Throughput:
    """Medians over turns.

    Attributes:
        work: ``training`` or ``loading``.
        name: What did it.
        tokens_per_second: Tokens of conversations, without padding.
        samples_per_second: Conversations.
        relative: Samples a second, relative to the first of the same work.
        data_wait: Share of the time that the host waited for data; None if it was not measured.
        padding: Share of padding among the tokens of the backbone.
        device_busy: Share of the time that kernels ran; on a CPU, that was not spent waiting for data.
        mfu: Share of the peak of the device; None if that or the operations are not known.
        peak_memory_gib: Of the GPU, without what the others hold; None on a CPU.
    """

    work: str
    name: str
    tokens_per_second: float
    samples_per_second: float
    relative: float
    data_wait: float | None
    padding: float
    device_busy: float | None
    mfu: float | None
    peak_memory_gib: float | None


@dataclass(slots=True)
class ThroughputReport(Report):
    """Rates and shares of cases that took turns.

    Attributes:
        rows: The cases.
    """

    rows: list[Throughput] = field(default_factory=list, kw_only=True)

    def rows_as_json(self) -> list[dict[str, Any]]:
        """Return all numbers."""
        return [asdict(row) for row in self.rows]

    def lines(self) -> list[Sequence[str]]:
        """Return rates, shares in percent, and the peak memory."""
        header = (
            *("work", "name", "tokens/s", "samples/s", "relative", "data wait", "padding", "device busy", "MFU"),
            "peak memory",
        )
        lines: list[Sequence[str]] = [header]
        lines += [
            (
                row.work,
                row.name,
                f"{row.tokens_per_second:,.0f}",
                f"{row.samples_per_second:,.1f}",
                f"{row.relative:.2f}",
                *(_percent(share) for share in (row.data_wait, row.padding, row.device_busy, row.mfu)),
                "-" if row.peak_memory_gib is None else f"{row.peak_memory_gib:.2f} GiB",
            )
            for row in self.rows
        ]
        return lines


@dataclass(slots=True)
class _Turns:
    """What a case did in each of its turns."""

    seconds: list[float] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)
    own_memory: int = 0
    peak_memory: int = 0
    kernel_seconds: float | None = None


def bench_multimodal_train(
    size: MultimodalSize,
    *,
    modality: Literal["image", "audio"],
    train: Literal["align", "finetune"],
    workers: int,
    steps: int,
    device: str,
    dtype: torch.dtype,
    seconds: float,
    baselines: bool = True,
) -> ThroughputReport:
    """Measure ours, the same model in a plain PyTorch loop, nanoVLM's recipe of equal size, and the loader alone.

    Args:
        size: Of the model and its batches.
        modality: What it sees or hears.
        train: Which parts learn.
        workers: Of our loader.
        steps: Of a turn.
        device: Where to compute.
        dtype: Of the passes; weights are float32.
        seconds: How long to measure, all cases together.
        baselines: Whether to measure baselines, too.
    """
    settings: dict[str, Any] = {
        "backbone": f"{size.backbone.num_layers}x{size.backbone.hidden_size}",
        "encoder": f"{size.encoder.num_layers}x{size.encoder.hidden_size}",
        "modality": modality,
        "image size": size.image_size,
        "trains": train,
        "batch size": size.batch_size,
        "workers": workers,
        "steps of a turn": steps,
        "dtype": str(dtype),
    }
    report = ThroughputReport("multimodal-train", settings, fingerprint(device))
    precision = str(dtype).removeprefix("torch.")
    with tempfile.TemporaryDirectory() as folder, flush_denormals(), no_cudnn_attention():
        loaded = write_run(Path(folder), size, modality=modality, train=train, precision=precision, workers=workers)
        turns: dict[str, _Turns] = {}
        cases: dict[str, Case] = {}

        def add(name: str, make: Callable[[], Case]) -> None:
            before = _allocated(device)
            try:
                case = make()
            except MissingBaselineError as missing:
                report.missing[name] = str(missing)
                return
            case.start()
            cases[name], turns[name] = case, _Turns(own_memory=_allocated(device) - before)

        ours = OurCase(loaded, Path(folder) / "run", device)
        context = ours.context
        add("ours", lambda: ours)
        if baselines:
            add("plain PyTorch loop", lambda: PaddedCase(context, assemble(loaded, pretrained=True).to(device)))
            if modality == "image":
                add("nanoVLM's recipe", lambda: NanoVLMCase(context, size, trains_llama=train == "finetune"))
            else:
                report.missing["nanoVLM's recipe"] = "it reads images only"
        loading = {f"{count} workers": LoaderCase(context, count) for count in sorted({0, workers})}
        turns |= {name: _Turns() for name in loading}
        _take_turns(cases | loading, turns, steps, seconds, device)
        peak = device_peak(torch.device(device)) if dtype is torch.bfloat16 else None
        for name, case in cases.items():
            turns[name].kernel_seconds = _kernel_seconds(case, steps, device)
    for work, names in (("training", cases), ("loading", loading)):
        rows = [_row(work, name, turns[name], peak) for name in names]
        report.rows += [replace(row, relative=row.samples_per_second / rows[0].samples_per_second) for row in rows]
    report.settings["peak memory of the process, GiB"] = round(peak_memory(torch.device("cpu")), 2)
    return report


def _take_turns(
    cases: Mapping[str, Case], turns: Mapping[str, _Turns], steps: int, seconds: float, device: str
) -> None:
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < MIN_ROUNDS or time.perf_counter() < end:
        rounds += 1
        for name, case in cases.items():
            case.start()
            _wait(device)
            if device != "cpu":
                torch.cuda.reset_peak_memory_stats(device)
            others = _allocated(device) - turns[name].own_memory
            started = time.perf_counter()
            work = case.run(steps)
            _wait(device)
            turns[name].seconds.append(time.perf_counter() - started)
            turns[name].work.append(work)
            if device != "cpu":
                used = torch.cuda.max_memory_allocated(device) - others
                turns[name].peak_memory = max(turns[name].peak_memory, used)


def _row(work: str, name: str, turns: _Turns, peak: float | None) -> Throughput:
    def median(amounts: Iterable[float]) -> float:
        return statistics.median(amount / seconds for amount, seconds in zip(amounts, turns.seconds, strict=True))

    is_training = work == "training"
    data_wait = median(each.waited for each in turns.work) if is_training else None
    kernels = None if turns.kernel_seconds is None else turns.kernel_seconds / statistics.median(turns.seconds)
    flops = median(each.flops for each in turns.work)
    return Throughput(
        work=work,
        name=name,
        tokens_per_second=median(each.tokens for each in turns.work),
        samples_per_second=median(each.samples for each in turns.work),
        relative=1.0,
        data_wait=data_wait,
        padding=1 - sum(each.tokens for each in turns.work) / sum(each.positions for each in turns.work),
        device_busy=kernels if data_wait is None or kernels is not None else 1 - data_wait,
        mfu=flops / peak if peak is not None and flops else None,
        peak_memory_gib=turns.peak_memory / GIB if turns.peak_memory else None,
    )


def _kernel_seconds(case: Case, steps: int, device: str) -> float | None:
    """Return how long kernels run in a turn, two at a time counting once; None on a CPU."""
    if device == "cpu":
        return None
    case.start()
    _wait(device)
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA], acc_events=True) as profile:
        case.run(steps)
        _wait(device)
    spans = sorted(
        (event.time_range.start, event.time_range.end)
        for event in profile.events() or ()
        if event.device_type.name == "CUDA" and not event.name.startswith("Mem")
    )
    return covered(spans) / 1e6  # the profiler counts microseconds


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return how much of a line the ``spans``, rising, cover."""
    total, reached = 0.0, -math.inf
    for begin, end in spans:
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def _allocated(device: str) -> int:
    return 0 if device == "cpu" else torch.cuda.memory_allocated(device)


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
