"""The costs of all cells as a table, as JSON, and as sentences about where curves cross."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, TypeAlias

from modrwkv_core.benchmarking.costs.crossings import describe
from modrwkv_core.benchmarking.costs.grid import Axis, Cell
from modrwkv_core.benchmarking.interleave import Timing
from modrwkv_core.benchmarking.report import Report

__all__ = ["QUANTITIES", "WORKS", "Cost", "CostReport", "Quantity", "Status", "Work"]

Work: TypeAlias = Literal["prefill", "decoding", "training step"]
Quantity: TypeAlias = Literal["time", "memory", "energy"]
Status: TypeAlias = Literal["measured", "out of memory", "too slow", "no room"]

WORKS: Final[tuple[Work, ...]] = ("prefill", "decoding", "training step")
QUANTITIES: Final[tuple[Quantity, ...]] = ("time", "memory", "energy")
MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Cost:
    """What one model took for one work on one cell.

    Attributes:
        work: What was done.
        name: The model.
        cell: The prompts.
        tokens: Tokens that a call takes, of all prompts.
        status: Whether it was measured, or why not.
        reason: Why not, in words; empty if it was measured.
        timing: Seconds of a call.
        memory: Bytes that a call needs at the highest, beyond weights and optimizer.
        energy: Joules of a call; None where the device does not tell.
        bound: Seconds that a call takes at the least, by the roofline; None if it was not measured.
    """

    work: Work
    name: str
    cell: Cell
    tokens: int
    status: Status = "measured"
    reason: str = ""
    timing: Timing | None = None
    memory: int | None = None
    energy: float | None = None
    bound: float | None = None

    def value(self, quantity: Quantity) -> float | None:
        """Return seconds, bytes or joules of a call; None if that was not measured, or is nothing."""
        values = {"time": self.timing and self.timing.median, "memory": self.memory, "energy": self.energy}
        return values[quantity] or None


@dataclass(slots=True)
class CostReport(Report):
    """Costs of two models along curves.

    Attributes:
        names: The models, ours first.
        curves: The cells of each axis, rising.
        rows: The costs; a cell that several curves share has one for each work and model.
    """

    names: tuple[str, ...]
    curves: dict[Axis, tuple[Cell, ...]] = field(default_factory=dict, kw_only=True)
    rows: list[Cost] = field(default_factory=list, kw_only=True)

    def curve(self, axis: Axis, work: Work, name: str) -> dict[int, Cost]:
        """Return the costs of a model along an axis, by position."""
        return {
            row.cell.on(axis): row
            for row in self.rows
            if row.work == work and row.name == name and row.cell in self.curves[axis]
        }

    def values(self, axis: Axis, work: Work, name: str, quantity: Quantity) -> dict[int, float]:
        """Return what was measured along an axis, by position."""
        costs = {place: cost.value(quantity) for place, cost in self.curve(axis, work, name).items()}
        return {place: value for place, value in costs.items() if value is not None}

    def sentences(self) -> Iterator[str]:
        """Say for each curve which model is cheaper where."""
        if len(self.names) != 2:
            return
        ours, theirs = self.names
        for quantity in QUANTITIES:
            for work in WORKS:
                for axis in self.curves:
                    both = [self.values(axis, work, name, quantity) for name in (ours, theirs)]
                    if any(both):
                        yield f"{quantity} of {work} over {axis}: {describe(both[0], both[1], (ours, theirs))}"

    def rows_as_json(self) -> list[dict[str, Any]]:
        """Return every cost, seconds, bytes and joules of a call, and tokens a second."""
        return [
            {
                "work": row.work,
                "name": row.name,
                **asdict(row.cell),
                "tokens": row.tokens,
                "status": row.status,
                "reason": row.reason,
                "median_seconds": row.timing and row.timing.median,
                "best_seconds": row.timing and row.timing.best,
                "rounds": row.timing and row.timing.rounds,
                "tokens_per_second": row.timing and row.tokens / row.timing.median,
                "memory_bytes": row.memory,
                "energy_joules": row.energy,
                "roofline_bound_seconds": row.bound,
            }
            for row in self.rows
        ]

    def lines(self) -> list[Sequence[str]]:
        """Return times of a call, their bound, speed, memory, energy and the time relative to the first model's."""
        header = ("work", "name", "median", "bound", "tokens/s", "memory", "energy", "relative")
        first = {(row.work, row.cell): row.timing for row in self.rows if row.name == self.names[0]}
        lines: list[Sequence[str]] = [header]
        for row in self.rows:
            timing, reference = row.timing, first.get((row.work, row.cell))
            lines.append(
                (
                    f"{row.work}, {row.cell}",
                    row.name,
                    row.status if timing is None else _seconds(timing.median),
                    "-" if row.bound is None else _seconds(row.bound),
                    "-" if timing is None else f"{row.tokens / timing.median:,.0f}",
                    "-" if row.memory is None else f"{row.memory / MIB:,.1f} MiB",
                    "-" if row.energy is None else f"{row.energy:.3g} J",
                    "-" if timing is None or reference is None else f"{timing.median / reference.median:.2f}",
                )
            )
        return lines


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
