"""The outcome of a benchmark, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modrwkv_core.benchmarking.interleave import Timing

__all__ = ["Report", "Row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One case.

    Attributes:
        work: What was done: forward, decode of 1 row, ...
        name: Who did it.
        timing: How long a call took.
        amount: Units of work in a call.
        floor: Seconds that the machine needs at least.
    """

    work: str
    name: str
    timing: Timing
    amount: float
    floor: float


@dataclass(slots=True)
class Report:
    """A benchmark's results.

    Attributes:
        benchmark: Its name.
        unit: What ``amount`` counts: tokens, token-heads.
        settings: Sizes and dtypes.
        machine: The fingerprint.
        missing: Rivals that could not be measured, with the reason.
        rows: The cases; the first of each work is ours and what the others are compared with.
    """

    benchmark: str
    unit: str
    settings: dict[str, Any]
    machine: Mapping[str, Any]
    missing: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def as_json(self) -> str:
        """All of it as a JSON object."""
        rows = [
            {
                "work": row.work,
                "name": row.name,
                **{f"{kind}_seconds": value for kind, value in asdict(row.timing).items() if kind != "rounds"},
                "rounds": row.timing.rounds,
                "per_second": row.amount / row.timing.median,
                "floor_seconds": row.floor,
            }
            for row in self.rows
        ]
        fields = {name: getattr(self, name) for name in ("benchmark", "unit", "settings", "machine", "missing")}
        return json.dumps({**fields, "rows": rows}, indent=2)

    def table(self) -> str:
        """What people read: times of a call, the speed at the median, the floor, and the time against ours."""
        header = ("work", "by", "best", "median", f"{self.unit}/s", "µs/each", "floor", "of floor", "times ours")
        lines: list[Sequence[str]] = [header]
        ours: dict[str, float] = {}
        for row in self.rows:
            median = row.timing.median
            ours.setdefault(row.work, median)
            lines.append(
                (
                    row.work,
                    row.name,
                    _milliseconds(row.timing.best),
                    _milliseconds(median),
                    f"{row.amount / median:,.0f}",
                    f"{median / row.amount * 1e6:.3g}",
                    _milliseconds(row.floor),
                    f"{100 * row.floor / median:.0f} %",
                    f"{median / ours[row.work]:.2f}",
                )
            )
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        table = [
            "  ".join(
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        described = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        absent = [f"not measured: {name}: {reason}" for name, reason in self.missing.items()]
        return "\n".join([f"{self.benchmark}: {described}", f"machine: {machine}", "", *table, *absent])

    def write(self, path: Path) -> None:
        """Write the JSON."""
        path.write_text(self.as_json() + "\n", encoding="utf-8")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"
