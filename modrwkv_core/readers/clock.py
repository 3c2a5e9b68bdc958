"""The time column of a table: the order of its rows, and the dates that come after the last one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.readers.dates import (
    AmbiguousDatesError,
    Step,
    are_month_ends,
    find_step,
    is_date,
    is_time_of_day,
    parse_dates,
)

__all__ = ["TIME_COLUMNS", "Clock", "find_clock"]

CALENDAR: Final = ("year", "quarter", "month", "week", "day", "hour", "minute", "second")

TIME_COLUMNS: Final = frozenset({"", "date", "datetime", "ds", "epoch", "index", "time", "timestamp", *CALENDAR})
"""Headings of columns that hold no measurements; a table saved with its row numbers has an empty heading."""

_DATE_HINT: Final = "write dates as 2024-01-31 or 2024-01-31 17:45, in every row, or delete the column"


@dataclass(frozen=True, slots=True)
class Clock:
    """When the rows of a table were measured.

    Attributes:
        name: Heading of the column.
        order: Row numbers in the order of time.
        last: The latest moment, a date or a number.
        step: From one row to the next, of a kind with ``last``; None if the steps differ.
        month_ends: Whether all dates are last days of months.
        whole_days: Whether no date has a time of day.
    """

    name: str
    order: NDArray[np.int64]
    last: datetime | float
    step: Step | float | None
    month_ends: bool = False
    whole_days: bool = False

    def after(self, count: int) -> list[str] | None:
        """Write the ``count`` dates or numbers after the last one; None if the steps differ."""
        if self.step is None:
            return None
        if not isinstance(self.step, Step):
            assert not isinstance(self.last, datetime), "the kind of the step is that of the moments"
            return [f"{self.last + self.step * number:.15g}" for number in range(1, count + 1)]
        moment, written = self.last, []
        assert isinstance(moment, datetime), "the kind of the step is that of the moments"
        for _ in range(count):
            moment = self.step.after(moment, self.month_ends)
            written.append(moment.date().isoformat() if self.whole_days else moment.isoformat(sep=" "))
        return written


def find_clock(
    columns: Sequence[tuple[str, Sequence[str]]], lines: Sequence[int], origin: str, wanted: str | None
) -> Clock | None:
    """Make a clock of a table's columns of dates, times and row numbers.

    A column of dates comes first, together with one of times of day if there is one; then columns that count years,
    months, days, ...; then one of numbers. Times of day alone tell no order.

    Args:
        columns: Heading and cells of each column that is not measured.
        lines: Where in the file each row ends.
        origin: Name of the file, for messages.
        wanted: The column to take.

    Returns:
        The clock, or None if no column tells the order of the rows.

    Raises:
        DataError: A cell is not a date or number, a moment comes twice, or days and months cannot be told apart.
    """
    columns = [(name, [cell.strip() for cell in cells]) for name, cells in columns]
    columns = [(name, cells) for name, cells in columns if any(cells)]
    times = [(name, cells) for name, cells in columns if is_time_of_day(cells[0])]
    dates = [(name, cells) for name, cells in columns if (name == wanted if wanted is not None else is_date(cells[0]))]
    if dates:
        name, cells = dates[0]
        if times and is_date(cells[0]) and ":" not in cells[0]:
            cells = [f"{date} {time}" for date, time in zip(cells, times[0][1], strict=True)]
        return _dates(name, cells, lines, origin)
    counted = {name.lower(): cells for name, cells in columns if name.lower() in CALENDAR}
    if "year" in counted:
        return _calendar(counted, lines, origin)
    numbers = [column for column in columns if column not in times and column[0].lower() not in CALENDAR]
    return _dates(*numbers[0], lines, origin) if numbers else None


def _dates(name: str, cells: Sequence[str], lines: Sequence[int], origin: str) -> Clock:
    """Read cells that are all dates or all numbers."""
    try:
        moments = parse_dates(cells)
    except AmbiguousDatesError as error:
        raise DataError(
            f"{origin}, column {name!r}: days and months cannot be told apart in dates such as {cells[0]!r}",
            hint="write dates as 2024-01-31",
        ) from error
    if None not in moments:
        return _ordered(name, cells, [moment for moment in moments if moment is not None], lines, origin)
    numbers = _numbers(cells)
    if numbers is not None:
        return _ordered(name, cells, numbers, lines, origin)
    bad = next(
        row
        for row, moment in enumerate(moments)
        if moment is None and (is_date(cells[0]) or not _numbers([cells[row]]))
    )
    found = f"holds {cells[bad]!r}, which is not a date" if cells[bad] else "is empty"
    raise DataError(f"{origin}, line {lines[bad]}, column {name!r} {found}", hint=_DATE_HINT)


def _calendar(counted: dict[str, Sequence[str]], lines: Sequence[int], origin: str) -> Clock:
    """Read columns that count years, months, days, hours, ..."""
    units = [unit for unit in CALENDAR if unit in counted]
    cells = [" ".join(row) for row in zip(*(counted[unit] for unit in units), strict=True)]
    name = " ".join(units)
    moments = []
    for row, cell in enumerate(cells):
        try:
            part = dict(zip(units, (int(float(number)) for number in cell.split()), strict=True))
            if "week" in part:
                moment = datetime.fromisocalendar(part["year"], part["week"], part.get("day", 1))
            else:
                month = part.get("month", 3 * part.get("quarter", 1) - 2)
                moment = datetime(part["year"], month, part.get("day", 1))
            hours, minutes, seconds = (part.get(unit, 0) for unit in ("hour", "minute", "second"))
            moments.append(moment + timedelta(hours=hours, minutes=minutes, seconds=seconds))
        except (ValueError, OverflowError) as error:
            raise DataError(
                f"{origin}, line {lines[row]}, column {name!r} holds {cell!r}, which is not a date", hint=_DATE_HINT
            ) from error
    return _ordered(name, cells, moments, lines, origin)


def _numbers(cells: Sequence[str]) -> list[float] | None:
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _ordered(
    name: str, cells: Sequence[str], moments: Sequence[datetime] | Sequence[float], lines: Sequence[int], origin: str
) -> Clock:
    """Sort the rows by time; refuse moments that come twice, and warn if steps differ."""
    order = sorted(range(len(moments)), key=moments.__getitem__)
    ascending = [moments[row] for row in order]
    for row, following in pairwise(order):
        if moments[row] == moments[following]:
            raise DataError(
                f"{origin}, line {lines[max(row, following)]}, column {name!r}: {cells[following]!r} is also in line "
                f"{lines[min(row, following)]}",
                hint="a series has one row for each moment: drop rows that come twice, and give each of several series "
                "a column of its own",
            )
    rows = np.array(order, dtype=np.int64)
    days = [moment for moment in ascending if isinstance(moment, datetime)]
    step: Step | float | None
    if days:
        step = find_step(days)
    else:
        spans = np.diff(np.array(ascending, dtype=np.float64))
        step = float(spans[0]) if len(spans) and np.allclose(spans, spans[0], rtol=1e-6, atol=0) else None
    if step is None and len(ascending) > 1:
        _warn_of_gaps(name, cells, moments, order, lines, origin)
    return Clock(
        name=name,
        order=rows,
        last=ascending[-1],
        step=step,
        month_ends=bool(days) and are_month_ends(days),
        whole_days=bool(days) and all(moment.time() == datetime.min.time() for moment in days),
    )


def _warn_of_gaps(
    name: str,
    cells: Sequence[str],
    moments: Sequence[datetime] | Sequence[float],
    order: Sequence[int],
    lines: Sequence[int],
    origin: str,
) -> None:
    pairs = list(pairwise(order))
    spans = [moments[after] - moments[before] for before, after in pairs]  # type: ignore[operator]  # all of one type
    usual = max(set(spans), key=lambda span: (spans.count(span), -abs(spans.index(span))))
    odd = [pair for pair, span in zip(pairs, spans, strict=True) if span != usual]
    before, after = odd[0]
    warnings.warn(
        f"{origin}, column {name!r}: {len(odd)} of {len(spans)} steps differ from the usual {usual}, the first from "
        f"{cells[before]!r} (line {lines[before]}) to {cells[after]!r} (line {lines[after]}); "
        "a series is read as if its steps were equal",
        stacklevel=2,
    )
