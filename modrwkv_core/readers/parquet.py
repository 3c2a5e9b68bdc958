"""Tables of measurements in Parquet files, by the rules of :mod:`modrwkv_core.readers.tables`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.readers.clock import TIME_COLUMNS, find_clock
from modrwkv_core.readers.dates import is_date, is_time_of_day
from modrwkv_core.readers.table import MISSING_HINT, Table, TableOptions

__all__ = ["PARQUET_MAGIC", "table_from_parquet"]

PARQUET_MAGIC: Final = b"PAR1"

_ROW_NUMBERS: Final = "__index_level_0__"
"""How pandas calls an index without a name."""


def table_from_parquet(content: bytes, origin: str, options: TableOptions) -> Table:
    """Read a table from the ``content`` of a Parquet file.

    Raises:
        DataError: The file is damaged; pyarrow is missing; a measured column holds no numbers; a measurement is
            missing; a heading or a moment comes twice; or ``options`` are about text.
    """
    if options.separator is not None or options.decimal is not None:
        raise DataError(f"{origin} is a Parquet file", hint="`separator` and `decimal` are about text: remove them")
    columns = _columns(content, origin)
    names = list(columns)
    wanted = (*(options.columns or ()), *((options.time_column,) if options.time_column else ()))
    if absent := [name for name in wanted if name not in columns]:
        raise DataError(f"{origin} has no column {', '.join(absent)}", hint=f"it has: {', '.join(names)}")
    timed = [name for name in names if name == options.time_column or _tells_time(name, columns[name])]
    measured = options.columns or tuple(name for name in names if name not in timed)
    if not measured:
        raise DataError(f"{origin} has no column of numbers", hint="columns of dates and times are not measurements")
    values = np.stack([_numbers(columns[name], name, origin) for name in measured], axis=1)
    if not len(values):
        raise DataError(f"{origin} has no rows", hint="a series needs at least one row of numbers")
    clocks = [("" if name == _ROW_NUMBERS else name, _cells(columns[name])) for name in timed if name not in measured]
    clock = find_clock(clocks, range(1, len(values) + 1), origin, options.time_column)
    return Table(measured, values if clock is None else values[clock.order], headed=True, clock=clock)


def _columns(content: bytes, origin: str) -> dict[str, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise DataError(
            f"{origin} is a Parquet file, which needs pyarrow", hint="pip install 'modrwkv[parquet]'"
        ) from error
    try:
        table = parquet.ParquetFile(pyarrow.BufferReader(content)).read()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{origin} is a damaged Parquet file: {error}", hint="write it anew") from error
    double = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if double:
        raise DataError(f"{origin} has several columns named {', '.join(double)}", hint="give each column its own name")
    return dict(zip(table.column_names, table.columns, strict=True))


def _tells_time(name: str, column: Any) -> bool:
    from pyarrow import types

    if types.is_temporal(column.type) or name == _ROW_NUMBERS or name.lower() in TIME_COLUMNS:
        return True
    if not (types.is_string(column.type) or types.is_large_string(column.type)):
        return False
    first = next((cell.as_py().strip() for cell in column if cell.is_valid), "")
    return is_date(first) or is_time_of_day(first)


def _numbers(column: Any, name: str, origin: str) -> NDArray[np.float64]:
    import pyarrow
    from pyarrow import types

    if not (types.is_integer(column.type) or types.is_floating(column.type) or types.is_decimal(column.type)):
        raise DataError(
            f"{origin}, column {name!r} holds {column.type}, not numbers",
            hint="name the columns to read in `columns`",
        )
    numbers: NDArray[np.float64] = column.cast(pyarrow.float64(), safe=False).to_numpy()
    if not np.isfinite(numbers).all():
        row = int(np.argmin(np.isfinite(numbers)))
        found = f"holds {numbers[row]}, which is not a finite number" if column[row].is_valid else "is empty"
        raise DataError(f"{origin}, row {row + 1}, column {name!r} {found}", hint=MISSING_HINT)
    return numbers


def _cells(column: Any) -> Sequence[str]:
    import pyarrow
    from pyarrow import types

    if types.is_timestamp(column.type):  # moments with a time zone are stored in UTC
        column = column.cast(pyarrow.timestamp("us"), safe=False)
    cells = ("" if value is None else value for value in column.to_pylist())
    return [value.isoformat(sep=" ") if isinstance(value, datetime) else str(value) for value in cells]
