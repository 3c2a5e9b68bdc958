"""What is known about a table of measurements, and what is read of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.readers.clock import Clock

__all__ = ["MISSING_HINT", "Table", "TableOptions"]

MISSING_HINT: Final = "fill or cut out missing measurements first"


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What is known about a table; the rest is found out.

    Attributes:
        columns: Columns to read, by heading, or by number from 1 where there is none; by default all but those of
            dates, times and row numbers.
        time_column: Column of dates, times or numbers that gives the order of the rows.
        separator: Character between columns, or ``tab``.
        decimal: ``.`` or ``,``.
    """

    columns: tuple[str, ...] | None = None
    time_column: str | None = None
    separator: str | None = None
    decimal: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Measurements in the order of time.

    Attributes:
        names: Headings of the measured columns, or their numbers from 1.
        values: ``[rows, columns]``, float64, finite.
        headed: Whether the file has a heading.
        clock: When rows were measured; None if the file does not say.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    headed: bool
    clock: Clock | None
