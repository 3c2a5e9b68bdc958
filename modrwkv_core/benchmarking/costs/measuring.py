"""Measures all cells of a grid, both models in turns, and marks what cannot be measured."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from modrwkv_core.benchmarking.costs.energy import EnergyMeter, MissingCounterError
from modrwkv_core.benchmarking.costs.grid import Axis, Cell, Grid
from modrwkv_core.benchmarking.costs.memory import bounded_memory, is_out_of_memory, peak_growth
from modrwkv_core.benchmarking.costs.models import DECODED, Contender, manifests
from modrwkv_core.benchmarking.costs.prompts import Prompts
from modrwkv_core.benchmarking.costs.report import WORKS, Cost, CostReport, Work
from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.interleave import Timing, interleave
from modrwkv_core.benchmarking.multimodal_data import MultimodalSize
from modrwkv_core.benchmarking.roofline import Roofline, measure_roofline
from modrwkv_core.data.batch import Batch
from modrwkv_core.interfaces.state import State
from modrwkv_core.training.attention import no_cudnn_attention
from modrwkv_core.training.denormals import flush_denormals

__all__ = ["bench_multimodal"]


def bench_multimodal(
    size: MultimodalSize, grid: Grid, *, device: str, dtype: torch.dtype, seconds: float, limit: float
) -> CostReport:
    """Measure prefill, decoding and training steps of our model and of a Transformer of as many parameters.

    Both have the same encoder, compressor and adapter, and random weights. The bound is that of the matrix products and
    of causal attention, or of reading the weights and what is remembered. Each call is made once to see whether it
    can be, and what memory it needs; then both models take turns. After Ctrl-C the report holds the cells until then.

    Args:
        size: Of the models; its batch size plays no part.
        grid: The prompts.
        device: Where to compute.
        dtype: Of the backbones' weights in prefill and decoding, and of training's passes.
        seconds: How long to measure altogether. Every call is made a few times even if that takes longer.
        limit: Seconds of a call above which it is made only once, and larger cells of its curve are not tried.

    Raises:
        PluginError: The Transformer is not installed.
    """
    with tempfile.TemporaryDirectory() as folder, flush_denormals(), no_cudnn_attention():
        data = Path(folder) / "data"
        data.mkdir()
        backbone = size.backbone
        attention_width = {"rwkv7": 0, "transformer": backbone.num_layers * backbone.hidden_size}
        contenders = {
            name: Contender(loaded, Path(folder) / name, device, dtype, attention_width[name])
            for name, loaded in manifests(data, size, dtype).items()
        }
        settings: dict[str, Any] = {
            "backbone": f"{backbone.num_layers}x{backbone.hidden_size}",
            "encoder": f"{size.encoder.num_layers}x{size.encoder.hidden_size}",
            "image size": size.image_size,
            "dtype": str(dtype),
            "decoded tokens of a call": DECODED,
            **{f"parameters of {name}": f"{each.num_parameters:,}" for name, each in contenders.items()},
        }
        report = CostReport("multimodal", settings, fingerprint(device), tuple(contenders))
        prompts = Prompts(next(iter(contenders.values())).model)
        for contender in contenders.values():
            contender.warm_up(prompts.shortest())
        report.settings["tokens of a picture"] = prompts.picture_tokens
        report.curves = grid.curves(prompts.picture_tokens)
        cells = {cell for cells in report.curves.values() for cell in cells}
        share = seconds / (len(cells) * len(WORKS))
        measuring = _Measuring(contenders, prompts, device, share, limit, measure_roofline(device, dtype))
        try:
            measuring.energy = EnergyMeter(device)
        except MissingCounterError as missing:
            report.missing["energy"] = str(missing)
        with bounded_memory(device):
            try:
                for cost in measuring.costs(report.curves):
                    report.rows.append(cost)  # those until an interruption are kept
            except KeyboardInterrupt:
                report.missing["the cells after these"] = "interrupted"
    for row in report.rows:
        if row.reason:
            marked = str(row.cell) if row.status == "no room" else f"{row.work}, {row.cell}, {row.name}"
            report.missing[marked] = f"{row.status}: {row.reason}"
    report.appendix = "\n".join(report.sentences())
    return report


@dataclass(slots=True)
class _Measuring:
    contenders: Mapping[str, Contender]
    prompts: Prompts
    device: str
    seconds: float
    limit: float
    roofline: Roofline
    energy: EnergyMeter | None = None
    _known: dict[tuple[Work, str, Cell], Cost] = field(default_factory=dict)

    def costs(self, curves: Mapping[Axis, tuple[Cell, ...]]) -> Iterator[Cost]:
        """Yield the costs of all cells, those of a cell together; each cell once."""
        for cells in curves.values():
            smaller: Cell | None = None
            for cell in cells:
                if (WORKS[0], next(iter(self.contenders)), cell) not in self._known:
                    yield from self._measure(cell, smaller)
                smaller = cell

    def _measure(self, cell: Cell, smaller: Cell | None) -> Iterator[Cost]:
        batch = self.prompts.batch(cell)
        states: dict[str, State] = {}
        for work in WORKS:
            tokens = DECODED * cell.batch_size if work == "decoding" else cell.context * cell.batch_size
            costs = {name: Cost(work, name, cell, tokens) for name in self.contenders}
            calls: dict[str, Callable[[], object]] = {}
            for name, cost in costs.items():
                if batch is None:
                    costs[name] = replace(cost, status="no room", reason="the pictures leave no token for a question")
                    continue
                call = self._call(work, name, batch, states)
                before = None if smaller is None else self._known[work, name, smaller]
                costs[name] = self._try(cost, call, before, states)
                timing = costs[name].timing
                if timing is None:
                    continue
                demand = self.contenders[name].demand(work, batch, states.get(name))
                costs[name] = replace(costs[name], bound=self.roofline.bound(*demand))
                if timing.median <= self.limit:
                    assert call is not None
                    calls[name] = call
            for name, timing in self._time(calls).items():
                energy = None if self.energy is None else self.energy.measure(calls[name])
                costs[name] = replace(costs[name], timing=timing, energy=energy)
            self._known |= {(work, name, cell): cost for name, cost in costs.items()}
            yield from costs.values()

    def _call(self, work: Work, name: str, batch: Batch, states: Mapping[str, State]) -> Callable[[], object] | None:
        """Return what does the work; None if that needs the state after a prompt that could not be read."""
        contender = self.contenders[name]
        if work == "prefill":
            return partial(contender.prefill, batch)
        if work == "training step":
            return partial(contender.train, batch)
        return partial(contender.decode, states[name]) if name in states else None

    def _try(
        self, cost: Cost, call: Callable[[], object] | None, smaller: Cost | None, states: dict[str, State]
    ) -> Cost:
        """Make a call once, and find out its memory and whether it can be made again."""
        if call is None:
            prompt = self._known["prefill", cost.name, cost.cell]
            return replace(cost, status=prompt.status, reason="its prompt could not be read")
        if smaller is not None and smaller.timing is None:
            return replace(cost, status=smaller.status, reason=smaller.reason)
        if smaller is not None and smaller.timing is not None and smaller.timing.median > self.limit:
            taken = f"{smaller.timing.median:.3g} s"
            return replace(cost, status="too slow", reason=f"not tried, because {smaller.cell} took {taken}")
        results: list[object] = []

        def timed() -> float:
            timings = interleave({"": lambda: results.append(call())}, seconds=0, device=self.device, calls=(0, 1))
            return timings[""].median

        try:
            duration, memory = peak_growth(timed, self.device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0]
        else:
            result = results[0]
            if isinstance(result, State):
                states[cost.name] = result
            if cost.work == "decoding":
                memory += states[cost.name].nbytes
            return replace(cost, timing=Timing(duration, duration, 1), memory=memory)
        # Behind the handler, so that the traceback no longer holds the tensors of the call.
        if self.device != "cpu":
            torch.cuda.empty_cache()
        return replace(cost, status="out of memory", reason=reason)

    def _time(self, calls: Mapping[str, Callable[[], object]]) -> dict[str, Timing]:
        return interleave(calls, seconds=self.seconds, device=self.device, calls=(1, 3)) if calls else {}
