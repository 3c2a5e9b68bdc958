"""Windows of the columns of a table of measurements, for forecasting.

R = rows, C = columns.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.data.sources.config import CsvWindowsConfig
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Part, Record, Target, Text, Turn
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.interfaces.source import Source

__all__ = ["CsvWindowsSource"]


class CsvWindowsSource(Source[CsvWindowsConfig]):
    """Shows ``context_length`` points of one column and asks the head ``forecast`` for the next ``horizon`` points.

    Raises:
        DataError: The table is missing or holds something else than numbers, or the rows hold no window.
    """

    def __init__(self, config: CsvWindowsConfig) -> None:
        super().__init__(config)
        self._columns, values_RC = _read(config.path, config.columns)
        start, stop = self._checked(config.rows or (0, len(values_RC)), len(values_RC))
        if config.normalize_rows is not None:
            values_RC = _standardized(
                values_RC, self._checked(config.normalize_rows, len(values_RC)), self._columns, config
            )
        self._values_RC = values_RC.astype(np.float32)
        self._first = max(start, config.context_length)
        last = stop - config.horizon
        if last < self._first:
            raise DataError(
                f"rows [{start}, {stop}) of {config.path} hold no {config.context_length} + {config.horizon} points",
                hint="take more rows, or a smaller context_length or horizon",
            )
        self._windows = (last - self._first) // config.stride + 1

    def __len__(self) -> int:
        return self._windows * len(self._columns)

    def __getitem__(self, index: int) -> Record:
        window, column = divmod(index, len(self._columns))
        at = self._first + window * self.config.stride
        seen = self._values_RC[at - self.config.context_length : at, column : column + 1]
        ahead = self._values_RC[at : at + self.config.horizon, column : column + 1]
        question: list[Part] = [Media("series", TimeSeries(seen))]
        if self.config.prompt:
            question.append(Text(self.config.prompt))
        key = f"{self.config.path}: {self._columns[column]} from row {at} on"
        return Record(key, (Turn("user", tuple(question)), Turn("assistant", (Target("forecast", ahead),))))

    def _checked(self, rows: tuple[int, int], count: int) -> tuple[int, int]:
        if rows[1] > count:
            raise DataError(f"rows [{rows[0]}, {rows[1]}) are wanted of {self.config.path}, which has {count}")
        return rows


def _read(path: Path, wanted: tuple[str, ...] | None) -> tuple[list[str], NDArray[np.float64]]:
    """Read the wanted columns: their names, and ``[rows, columns]``."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as table:
            lines = table.read().splitlines()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"cannot read {path}: {error}", hint="relative paths are resolved against `data_root`"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text") from error
    if len(lines) < 2:
        raise DataError(f"{path} holds no row below a header")
    header, first = csv.reader(lines[:2])
    names = (
        list(wanted) if wanted else [name for name, value in zip(header, first, strict=False) if not _is_word(value)]
    )
    if missing := [name for name in names if name not in header]:
        raise DataError(f"{path} has no column {', '.join(missing)}", hint=f"it has: {', '.join(header)}")
    used = [header.index(name) for name in names]
    try:
        values_RC = np.loadtxt(lines[1:], delimiter=",", usecols=used, ndmin=2, quotechar='"', comments=None)
    except ValueError as error:
        raise DataError(f"{path} is not a table of numbers below a header: {error}") from error
    if not np.isfinite(values_RC).all():
        row, column = np.argwhere(~np.isfinite(values_RC))[0]
        raise DataError(f"{path} holds {values_RC[row, column]} in row {row}, column {names[column]}")
    return names, values_RC


def _is_word(field: str) -> bool:
    """Whether a field is a date, a name or the like; an empty one is a number that is missing."""
    try:
        float(field or "nan")
    except ValueError:
        return True
    return False


def _standardized(
    values_RC: NDArray[np.float64], rows: tuple[int, int], columns: list[str], config: CsvWindowsConfig
) -> NDArray[np.float64]:
    """Subtract the mean of ``rows`` and divide by their population standard deviation, each column by itself."""
    chosen_RC = values_RC[slice(*rows)]
    deviation_C = chosen_RC.std(axis=0)
    if not deviation_C.all():
        constant = columns[int(np.argmin(deviation_C))]
        raise DataError(f"{constant} of {config.path} is constant in rows [{rows[0]}, {rows[1]}): it has no scale")
    standardized: NDArray[np.float64] = (values_RC - chosen_RC.mean(axis=0)) / deviation_C
    return standardized
