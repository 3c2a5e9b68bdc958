"""Windows of the columns of a table of measurements, for forecasting.

R = rows, C = columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.data.sources.config import CsvWindowsConfig
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Part, Record, Target, Text, Turn
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.interfaces.source import Source
from modrwkv_core.readers.files import read_media
from modrwkv_core.readers.table import Table, TableOptions
from modrwkv_core.readers.tables import table_from_bytes

__all__ = ["CsvWindowsSource"]


class CsvWindowsSource(Source[CsvWindowsConfig]):
    """Shows ``context_length`` points of one column and asks a head for the next ``horizon`` points.

    Raises:
        DataError: The table is missing or is not one of numbers, see :func:`~modrwkv_core.readers.tables.read_table`;
            a column is constant or too large, or the rows hold no window.
    """

    def __init__(self, config: CsvWindowsConfig) -> None:
        super().__init__(config)
        options = TableOptions(config.columns, config.time_column, config.separator, config.decimal)
        table = _table(*read_media(config.path), options)
        self._columns, values_RC = table.names, table.values
        start, stop = self._checked(config.rows or (0, len(values_RC)), len(values_RC))
        if config.normalize_rows is not None:
            values_RC = _standardized(
                values_RC, self._checked(config.normalize_rows, len(values_RC)), self._columns, config
            )
        if (np.abs(values_RC) > np.finfo(np.float32).max).any():
            raise DataError(f"{config.path} holds numbers above 3.4e38", hint="write it in larger units")
        self._values_RC = values_RC.astype(np.float32)
        chosen = config.spread_rows or config.normalize_rows
        self._spread_RC = (
            _running_spread(values_RC)
            if chosen is None
            else np.broadcast_to(
                values_RC[slice(*self._checked(chosen, len(values_RC)))].std(axis=0).astype(np.float32),
                values_RC.shape,
            )
        )
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
        spread = self._spread_RC[at - 1, column : column + 1]
        question: list[Part] = [Media("series", TimeSeries(seen, spread))]
        if self.config.prompt:
            question.append(Text(self.config.prompt))
        key = f"{self.config.path}: {self._columns[column]} from row {at} on"
        return Record(key, (Turn("user", tuple(question)), Turn("assistant", (Target(self.config.head, ahead),))))

    def _checked(self, rows: tuple[int, int], count: int) -> tuple[int, int]:
        if rows[1] > count:
            raise DataError(f"rows [{rows[0]}, {rows[1]}) are wanted of {self.config.path}, which has {count}")
        return rows


@lru_cache(maxsize=1)
def _table(content: bytes, origin: str, options: TableOptions) -> Table:
    # Parsing takes seconds, and evaluations at several horizons read one table after the other.
    return table_from_bytes(content, origin, options)


def _standardized(
    values_RC: NDArray[np.float64], rows: tuple[int, int], columns: Sequence[str], config: CsvWindowsConfig
) -> NDArray[np.float64]:
    """Subtract the mean of ``rows`` and divide by their population standard deviation, each column by itself."""
    chosen_RC = values_RC[slice(*rows)]
    constant_C = chosen_RC.min(axis=0) == chosen_RC.max(axis=0)
    if constant_C.any():
        constant = columns[int(np.argmax(constant_C))]
        raise DataError(f"{constant} of {config.path} is constant in rows [{rows[0]}, {rows[1]}): it has no scale")
    standardized: NDArray[np.float64] = (values_RC - chosen_RC.mean(axis=0)) / chosen_RC.std(axis=0)
    return standardized


def _running_spread(values_RC: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the population standard deviation of all rows up to and including each one."""
    # Sums of squares lose the digits that an offset takes. Without the first row, the start of a constant column is
    # exactly 0.
    shifted_RC = values_RC - values_RC[:1]
    count_R1 = np.arange(1, len(shifted_RC) + 1)[:, None]
    mean_RC = shifted_RC.cumsum(axis=0) / count_R1
    variance_RC = np.square(shifted_RC).cumsum(axis=0) / count_R1 - np.square(mean_RC)
    return np.sqrt(np.maximum(variance_RC, 0.0)).astype(np.float32)
