"""The report of a run: one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modrwkv_core.evaluation.cards import Evaluation
from modrwkv_core.evaluation.curves import draw_losses, draw_metrics
from modrwkv_core.evaluation.page import write_page

__all__ = ["REPORT", "Table", "write_report"]

REPORT: Final = "report.html"


@dataclass(frozen=True, slots=True)
class Table:
    """A table on the page; without rows it is left out.

    Attributes:
        title: Stands above it.
        head: The names of the columns.
        rows: Words by row; the first word of a row names it.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_report(
    path: Path,
    title: str,
    summary: Mapping[str, str],
    evaluations: Sequence[Evaluation],
    metrics: Sequence[Mapping[str, float | str]],
    *,
    tables: Sequence[Table] = (),
    manifest: str = "",
) -> None:
    """Write the page, which appears whole or not at all.

    Args:
        path: The HTML file.
        title: The run's name.
        summary: What the run is, line by line: name and value.
        evaluations: What the tasks found.
        metrics: The metrics that training logged, in order; see :func:`modrwkv_core.evaluation.curves.draw_losses`.
        tables: What else there is to know.
        manifest: All settings, as YAML.
    """
    curves = [drawing for drawing in (draw_losses(metrics), draw_metrics(metrics)) if drawing is not None]
    assert __package__ is not None
    write_page(
        path,
        __package__,
        "report.html.j2",
        title=title,
        summary=summary,
        curves=curves,
        evaluations=evaluations,
        tables=tables,
        manifest=manifest,
    )
