"""All trials of a sweep in one table: means over seeds with their intervals, the best first."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydantic_core
from scipy.stats import t as student

from modrwkv_core.errors import DataError
from modrwkv_core.experiments.config import Sweep
from modrwkv_core.experiments.job import Outcome
from modrwkv_core.experiments.objective import Objective
from modrwkv_core.experiments.space import label
from modrwkv_core.experiments.study import Trial
from modrwkv_core.storage.files import write_text

__all__ = ["CONFIDENCE", "Comparison", "TrialRow", "interval"]

CONFIDENCE: Final = 0.95
_LEFT_OUT: Final = ("loss/", "gradient_norm/", "update_norm/", "feature_norm/")
"""What training logs of each part, and what a table would be too wide with."""


def interval(values: Sequence[float]) -> float | None:
    """Return half the width of the 95 % confidence interval of a mean, by Student's t; None for fewer than two."""
    if len(values) < 2:
        return None
    quantile = float(student.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return quantile * float(np.std(values, ddof=1)) / math.sqrt(len(values))


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A trial that has ended.

    Attributes:
        number: Its number.
        point: The values by parameter.
        objectives: The objective by seed.
        scores: All scores by seed and name.
        error: Why it has failed; None if it is complete.
    """

    number: int
    point: Mapping[str, Any]
    objectives: Mapping[int, float]
    scores: Mapping[int, Mapping[str, float]]
    error: str | None

    @property
    def mean(self) -> float:
        """The mean of the objective over the seeds."""
        return float(np.mean(list(self.objectives.values())))

    @property
    def half_width(self) -> float | None:
        """Half the width of its confidence interval."""
        return interval(list(self.objectives.values()))

    def score(self, name: str) -> str:
        """Write a score as its mean and interval over the seeds that have it."""
        values = [found[name] for found in self.scores.values() if name in found]
        return _written(float(np.mean(values)), interval(values)) if values else ""


@dataclass(slots=True)
class Comparison:
    """The trials of a sweep.

    Attributes:
        name: The sweep's name.
        objective: What decides.
        sweep: The sweep.
        seeds: The seeds of each trial.
        rows: The trials that have ended.
    """

    name: str
    objective: Objective
    sweep: Sweep
    seeds: Sequence[int]
    rows: list[TrialRow] = field(default_factory=list)

    def add(self, trial: Trial, outcomes: Mapping[int, Outcome], error: str | None = None) -> TrialRow:
        """Take in a trial and return its row; it has failed if one of its runs has, or lacks the objective.

        Args:
            trial: The trial.
            outcomes: What its runs reached, by seed.
            error: Why it ended early, if it did.
        """
        found: dict[int, float] = {}
        for seed, outcome in outcomes.items():
            try:
                if outcome.error is not None:
                    raise DataError(outcome.error)
                found[seed] = self.objective.of(outcome.scores)
            except DataError as missing:
                error = error or f"seed {seed}: {missing}"
        scores = {seed: outcome.scores for seed, outcome in outcomes.items()}
        row = TrialRow(trial.number, trial.point, found, scores, error)
        self.rows.append(row)
        return row

    @property
    def ranked(self) -> list[TrialRow]:
        """The complete trials, best first, and then the failed ones."""
        sign = -1 if self.objective.direction == "maximize" else 1
        complete = [row for row in self.rows if row.error is None]
        failed = [row for row in self.rows if row.error is not None]
        return sorted(complete, key=lambda row: (sign * row.mean, row.number)) + sorted(
            failed, key=lambda row: row.number
        )

    @property
    def score_names(self) -> list[str]:
        """The other scores of evaluations and validation, in the order of the runs."""
        names = dict.fromkeys(name for row in self.rows for scores in row.scores.values() for name in scores)
        return [
            name for name in names if "/" in name and not name.startswith(_LEFT_OUT) and name != self.objective.name
        ]

    @property
    def head(self) -> list[str]:
        """The names of the table's columns."""
        return ["trial", *self.sweep.parameters, self.objective.name, *self.score_names]

    def cells(self, row: TrialRow) -> list[str]:
        """Return a row of the table."""
        reached = "failed" if row.error is not None else _written(row.mean, row.half_width)
        return [str(row.number), *map(label, row.point.values()), reached, *map(row.score, self.score_names)]

    def line(self, row: TrialRow) -> str:
        """Say in a line what a trial reached."""
        point = ", ".join(f"{name}={label(value)}" for name, value in row.point.items())
        if row.error is not None:
            return f"trial {row.number} ({point}): failed: {row.error.splitlines()[0]}"
        return f"trial {row.number} ({point}): {self.objective.name} {_written(row.mean, row.half_width)}"

    def markdown(self) -> str:
        """Write the table for people."""
        rows = [self.head, *(self.cells(row) for row in self.ranked)]
        rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows]
        lines.insert(1, f"|{'|'.join('-' * (width + 2) for width in widths)}|")
        return "\n".join(lines)

    def write(self, folder: Path) -> None:
        """Write ``comparison.md``, ``comparison.json`` and ``comparison.csv``.

        Raises:
            WriteError: The folder cannot be written.
        """
        good = "high" if self.objective.direction == "maximize" else "low"
        notes = [f"Mean over {_count(len(self.seeds), 'seed')}; a {good} {self.objective.name} is good."]
        if len(self.seeds) > 1:
            notes.append("± is half the width of the 95 % confidence interval.")
        errors = [f"- trial {row.number}: {row.error}" for row in self.ranked if row.error is not None]
        failed = ["", "Failed:", "", *errors] if errors else []
        text = "\n".join([f"# {self.name}", "", self.markdown(), "", " ".join(notes), *failed])
        write_text(folder / "comparison.md", text + "\n")
        write_text(folder / "comparison.json", self._json())
        write_text(folder / "comparison.csv", self._csv())

    def _json(self) -> str:
        trials = [
            {
                "trial": row.number,
                "parameters": row.point,
                "mean": row.mean if row.error is None else None,
                "half_width": row.half_width if row.error is None else None,
                "seeds": {str(seed): dict(scores) for seed, scores in row.scores.items()},
                "error": row.error,
            }
            for row in self.ranked
        ]
        content = {
            "sweep": self.name,
            "objective": self.objective.name,
            "direction": self.objective.direction,
            "confidence": CONFIDENCE,
            "trials": trials,
        }
        return pydantic_core.to_json(content, indent=2, inf_nan_mode="null").decode() + "\n"

    def _csv(self) -> str:
        """Write a line for each run: what a program or a spreadsheet groups itself."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [self.objective.name, *self.score_names]
        writer.writerow(["trial", "seed", *self.sweep.parameters, *names, "error"])
        for row in self.ranked:
            for seed in self.seeds:
                found = row.scores.get(seed, {})
                values = [found.get(name, "") for name in names]
                writer.writerow([row.number, seed, *map(label, row.point.values()), *values, row.error or ""])
        return text.getvalue()


def _written(mean: float, half_width: float | None) -> str:
    return f"{mean:.4g}" if half_width is None else f"{mean:.4g} ± {half_width:.2g}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
