"""Orders in which a recurrent backbone may read a grid. This module never imports torch."""

from __future__ import annotations

from itertools import chain
from typing import Literal, TypeAlias

from modrwkv_core.interfaces.grids import Grid

__all__ = ["ReadingOrder", "reading_order"]

ReadingOrder: TypeAlias = Literal["rows", "columns", "snake", "bidirectional", "cross"]


def reading_order(order: ReadingOrder, grid: Grid) -> list[int]:
    """Return the places of a grid, counted row by row, in the order in which they are read.

    Source: ``bidirectional`` and ``cross`` are the scans of Qiao et al., VL-Mamba, arXiv 2403.13600.

    Args:
        order: ``rows`` and ``columns`` read one after the other, ``snake`` turns at the end of each row,
            ``bidirectional`` reads rows, then the same backwards, ``cross`` rows and columns, then both backwards.
        grid: Rows and columns.
    """
    rows = [range(row * grid.columns, (row + 1) * grid.columns) for row in range(grid.rows)]
    by_rows = list(chain.from_iterable(rows))
    match order:
        case "rows":
            return by_rows
        case "columns":
            return list(chain.from_iterable(zip(*rows, strict=True)))
        case "snake":
            return list(chain.from_iterable(row[::-1] if number % 2 else row for number, row in enumerate(rows)))
        case "bidirectional":
            return by_rows + by_rows[::-1]
        case "cross":
            forward = by_rows + reading_order("columns", grid)
            return forward + forward[::-1]
