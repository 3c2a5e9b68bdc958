"""The results of a benchmark, as a table and as JSON."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modrwkv_core.benchmarking.interleave import Timing

__all__ = ["Goal", "GoalReport", "Report", "Row", "TimeReport", "ValueReport"]


@dataclass(slots=True)
class Report(ABC):
    """What all reports have in common.

    Attributes:
        benchmark: Its name.
        settings: Sizes and dtypes.
        machine: The fingerprint.
        missing: What could not be measured, with the reason.
        appendix: Text below the table.
    """

    benchmark: str
    settings: dict[str, Any]
    machine: Mapping[str, Any]
    missing: dict[str, str] = field(default_factory=dict, kw_only=True)
    appendix: str = field(default="", kw_only=True)

    @abstractmethod
    def rows_as_json(self) -> list[dict[str, Any]]:
        """Return one object for each row."""

    @abstractmethod
    def lines(self) -> list[Sequence[str]]:
        """Return the cells of the table, its header first. The first two columns are text, the others numbers."""

    def as_json(self) -> str:
        """Return all of it as a JSON object."""
        fields = {name: getattr(self, name) for name in ("benchmark", "settings", "machine", "missing")}
        return json.dumps({**fields, "rows": self.rows_as_json()}, indent=2)

    def table(self) -> str:
        """Return settings, machine and rows as people read them."""
        lines = self.lines()
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        table = [
            "  ".join(
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        settings = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        missing = [f"not measured: {name}: {reason}" for name, reason in self.missing.items()]
        appendix = ["", self.appendix] if self.appendix else []
        return "\n".join([f"{self.benchmark}: {settings}", f"machine: {machine}", "", *table, *missing, *appendix])

    def write(self, path: Path) -> None:
        """Write the JSON."""
        path.write_text(self.as_json() + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Row:
    """One timed case.

    Attributes:
        work: What was done: forward, batch size 1, ...
        name: What did it.
        timing: The time of a call.
        amount: Units of work in a call.
        bound: Seconds to compare the time with: the roofline bound, or a budget; None where there is neither.
    """

    work: str
    name: str
    timing: Timing
    amount: float
    bound: float | None


@dataclass(slots=True)
class TimeReport(Report):
    """Times of cases.

    Attributes:
        unit: What ``amount`` counts: tokens, token-heads.
        bound: What the bounds of the rows are.
        rows: The cases. Others of the same work are compared with the first.
    """

    unit: str
    bound: str = field(default="roofline bound", kw_only=True)
    rows: list[Row] = field(default_factory=list, kw_only=True)

    def rows_as_json(self) -> list[dict[str, Any]]:
        """Return the times of each row in seconds, its speed in units per second, and its bound."""
        return [
            {
                "work": row.work,
                "name": row.name,
                **{f"{kind}_seconds": value for kind, value in asdict(row.timing).items() if kind != "rounds"},
                "rounds": row.timing.rounds,
                "unit": self.unit,
                "per_second": row.amount / row.timing.median,
                f"{self.bound.replace(' ', '_')}_seconds": row.bound,
            }
            for row in self.rows
        ]

    def lines(self) -> list[Sequence[str]]:
        """Return times of a call, the speed at the median, the bound, and the time relative to the first case's."""
        header = ("work", "name", "best", "median", f"{self.unit}/s", "µs/each", self.bound, "bound/median", "relative")
        lines: list[Sequence[str]] = [header]
        first: dict[str, float] = {}
        for row in self.rows:
            median = row.timing.median
            first.setdefault(row.work, median)
            lines.append(
                (
                    row.work,
                    row.name,
                    _milliseconds(row.timing.best),
                    _milliseconds(median),
                    f"{row.amount / median:,.0f}",
                    f"{median / row.amount * 1e6:.3g}",
                    "-" if row.bound is None else _milliseconds(row.bound),
                    "-" if row.bound is None else f"{100 * row.bound / median:.0f} %",
                    f"{median / first[row.work]:.2f}",
                )
            )
        return lines


@dataclass(slots=True)
class ValueReport(Report):
    """Several numbers of each case.

    Attributes:
        quantity: What the numbers are, with their unit: relative error, milliseconds.
        rows: Work, name and the numbers by column.
    """

    quantity: str
    rows: list[tuple[str, str, dict[str, float]]] = field(default_factory=list, kw_only=True)

    def rows_as_json(self) -> list[dict[str, Any]]:
        """Return the numbers of each row."""
        return [
            {"work": work, "name": name, self.quantity.replace(" ", "_"): values} for work, name, values in self.rows
        ]

    def lines(self) -> list[Sequence[str]]:
        """Return one column for each kind of number."""
        columns = list(dict.fromkeys(column for _, _, values in self.rows for column in values))
        return [
            (f"work ({self.quantity})", "name", *columns),
            *(
                (work, name, *(f"{values[column]:.2g}" if column in values else "-" for column in columns))
                for work, name, values in self.rows
            ),
        ]


@dataclass(frozen=True, slots=True)
class Goal:
    """A number, and what it ought to be.

    Attributes:
        work: What was done.
        name: What the number is.
        value: The number.
        unit: Its unit; empty for plain numbers.
        at_least: What it ought to reach; None where any number will do.
        at_most: What it ought not to exceed; None where any number will do.
    """

    work: str
    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the number is what it ought to be; None where any number will do."""
        if self.at_least is None and self.at_most is None:
            return None
        low = -math.inf if self.at_least is None else self.at_least
        return low <= self.value <= (math.inf if self.at_most is None else self.at_most)


@dataclass(slots=True)
class GoalReport(Report):
    """Numbers of several kinds, with goals.

    Attributes:
        rows: The numbers.
    """

    rows: list[Goal] = field(default_factory=list, kw_only=True)

    def rows_as_json(self) -> list[dict[str, Any]]:
        """Return each number with its goal."""
        return [{**asdict(row), "is_met": row.is_met} for row in self.rows]

    def lines(self) -> list[Sequence[str]]:
        """Return the numbers, their goals, and whether these are met."""
        lines: list[Sequence[str]] = [("work", "what", "value", "unit", "goal", "met")]
        for row in self.rows:
            goals = [
                f"{sign} {bound:g}" for sign, bound in ((">=", row.at_least), ("<=", row.at_most)) if bound is not None
            ]
            met = "-" if row.is_met is None else "yes" if row.is_met else "no"
            lines.append((row.work, row.name, f"{row.value:,.4g}", row.unit, " ".join(goals) or "-", met))
        return lines


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"
