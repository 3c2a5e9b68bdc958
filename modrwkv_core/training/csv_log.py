"""The metrics of a run as a table, ``metrics.csv``, which is derived from ``metrics.jsonl``.

A metric that is logged for the first time adds a column, for which the table is written anew.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from modrwkv_core.storage.files import append_line, write_text
from modrwkv_core.training.loggers import read_metrics

__all__ = ["CSV", "append_csv", "write_csv"]

CSV: Final = "metrics.csv"


def write_csv(run: Path) -> None:
    """Write the table of all lines that the run has logged; without any, there is none.

    Raises:
        WriteError: The disk is full, or the folder cannot be written.
    """
    lines = read_metrics(run)
    if not lines:
        (run / CSV).unlink(missing_ok=True)
        return
    columns = list(dict.fromkeys(name for line in lines for name in line))
    rows = [_row(columns), *(_row(line.get(name, "") for name in columns) for line in lines)]
    write_text(run / CSV, "".join(f"{row}\n" for row in rows))


def append_csv(run: Path, step: int, metrics: Mapping[str, float | str]) -> None:
    """Add the newest line, which ``metrics.jsonl`` holds already.

    Raises:
        WriteError: The disk is full, or the folder is missing.
    """
    line = {"step": step, **metrics}
    columns = _columns(run / CSV)
    if line.keys() <= set(columns):
        append_line(run / CSV, _row(line.get(name, "") for name in columns))
    else:
        write_csv(run)


def _columns(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file), [])


def _row(values: Iterable[float | str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().removesuffix("\n")
