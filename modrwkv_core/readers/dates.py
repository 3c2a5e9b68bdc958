"""Dates and times as tables write them, and the step from one to the next."""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, Literal

__all__ = ["AmbiguousDatesError", "Step", "find_step", "is_date", "is_time_of_day", "parse_dates"]

_TIME: Final = r"""
    (?P<hour>\d{1,2}) : (?P<minute>\d{2}) (?: : (?P<second>\d{2}) (?: [.,] (?P<fraction>\d{1,9}) )? )?
    (?: \s* (?P<half>[AP]) \.? M \.? )? \s* (?P<zone> Z | UTC | [+-]\d{2}:?\d{2} )?
"""
_DATES: Final = tuple(
    re.compile(rf"{date} (?: [T\s,]+ {_TIME} )?", re.VERBOSE | re.IGNORECASE)
    for date in (
        r"(?P<year>\d{4}) (?P<mark>[-/.]) (?P<month>\d{1,2}) (?P=mark) (?P<day>\d{1,2})",  # 2024-01-31
        r"(?P<year>\d{4}) [-/] (?P<month>\d{1,2})",  # 2024-01; with a point it would be a number
        r"(?P<one>\d{1,2}) (?P<mark>[-/.]) (?P<two>\d{1,2}) (?P=mark) (?P<year>\d{4}|\d{2})",  # 31.01.2024, 1/31/24
        r"(?P<day>\d{1,2}) [-/.\s]+ (?P<name>[a-z]{3,9}) [-/.,\s]+ (?P<year>\d{4}|\d{2})",  # 31-Jan-2024
        r"(?P<name>[a-z]{3,9}) \.? \s+ (?P<day>\d{1,2}) (?: ,\s* | \s+ ) (?P<year>\d{4})",  # January 31, 2024
        r"(?P<name>[a-z]{3,9}) [-/.,\s]* (?P<year>\d{4}|\d{2})",  # Jan-24, January 2024
        r"(?P<year>\d{4}) [-/\s]? Q (?P<quarter>[1-4])",  # 2024Q1
        r"Q (?P<quarter>[1-4]) [-/\s]? (?P<year>\d{4})",  # Q1 2024
        r"(?P<year>\d{4}) -? W (?P<week>\d{2})",  # 2024-W05
    )
)
_TIME_OF_DAY: Final = re.compile(_TIME, re.VERBOSE | re.IGNORECASE)
_COMPACT: Final = re.compile(r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})")
_MONTHS: Final = tuple(calendar.month_name[1:])

Order = Literal["day first", "month first"]


class AmbiguousDatesError(ValueError):
    """Days and months cannot be told apart."""


def is_date(cell: str) -> bool:
    """Tell whether ``cell`` is written as a date, such as 2024-01-31, 31.01.2024 17:45, 01-Jan-2024 or 2024Q1."""
    return any(_moment(cell, order) is not None for order in ("day first", "month first"))


def is_time_of_day(cell: str) -> bool:
    """Tell whether ``cell`` is a time without a date, such as 17:45."""
    return _TIME_OF_DAY.fullmatch(cell) is not None


def parse_dates(cells: Sequence[str]) -> list[datetime | None]:
    """Read ``cells`` as dates; those with a zone become UTC.

    Whether 01/02/2024 is in January or in February is decided by the other cells: a number above 12 is a day, and if
    there is none, the order that gives equal steps is taken. Eight digits are a date if they are in all cells.

    Returns:
        A moment for each cell, None where it is not a date.

    Raises:
        AmbiguousDatesError: Both orders are possible.
    """
    if all(_COMPACT.fullmatch(cell) for cell in cells):
        return [_built(_COMPACT.fullmatch(cell), "day first") for cell in cells]
    day_first: list[datetime | None] = [_moment(cell, "day first") for cell in cells]
    month_first: list[datetime | None] = [_moment(cell, "month first") for cell in cells]
    if day_first == month_first or day_first.count(None) < month_first.count(None):
        return day_first
    if month_first.count(None) < day_first.count(None):
        return month_first
    regular = [moments for moments in (day_first, month_first) if find_step(sorted(filter(None, moments))) is not None]
    if len(regular) != 1:
        raise AmbiguousDatesError
    return regular[0]


@dataclass(frozen=True, slots=True)
class Step:
    """The time from one row to the next; one of the three is set.

    Attributes:
        time: A span of time.
        months: Months; the last day of a month goes to the last day.
        workdays: From one to the next of Monday to Friday.
    """

    time: timedelta | None = None
    months: int | None = None
    workdays: bool = False

    def after(self, moment: datetime, month_ends: bool) -> datetime:
        """Return the moment one step later."""
        if self.time is not None:
            return moment + self.time
        if self.months is not None:
            years, month = divmod(moment.month - 1 + self.months, 12)
            year = moment.year + years
            last = calendar.monthrange(year, month + 1)[1]
            return moment.replace(year=year, month=month + 1, day=last if month_ends else min(moment.day, last))
        return moment + timedelta(days=3 if moment.weekday() == 4 else 1)


def find_step(moments: Sequence[datetime]) -> Step | None:
    """Return the step between ``moments``, which ascend; None if the steps differ or there are fewer than two."""
    if len(moments) < 2:
        return None
    pairs = list(pairwise(moments))
    spans = {after - before for before, after in pairs}
    if timedelta(0) in spans:
        return None
    months = {12 * (after.year - before.year) + after.month - before.month for before, after in pairs}
    same_day = len({(moment.day, moment.time()) for moment in moments}) == 1
    if len(months) == 1 and 0 not in months and (same_day or are_month_ends(moments)):
        # Asked before equal spans: eighteen months may be 548 days many times, and then are 549.
        return Step(months=months.pop())
    if len(spans) == 1:
        return Step(time=spans.pop())
    if all(after == Step(workdays=True).after(before, False) for before, after in pairs) and moments[0].weekday() < 5:
        return Step(workdays=True)
    return None


def are_month_ends(moments: Sequence[datetime]) -> bool:
    """Tell whether all ``moments`` are on the last day of their month, at one time of day."""
    return len({moment.time() for moment in moments}) == 1 and all(
        moment.day == calendar.monthrange(moment.year, moment.month)[1] for moment in moments
    )


def _moment(cell: str, order: Order) -> datetime | None:
    for pattern in _DATES:
        if (match := pattern.fullmatch(cell)) is not None:
            return _built(match, order)
    return None


def _built(match: re.Match[str] | None, order: Order) -> datetime | None:
    """Make a moment of a match; None if there is no such day or time."""
    assert match is not None
    part = match.groupdict()
    year = int(part["year"])
    if len(part["year"]) == 2:
        year += 1900 if year >= 69 else 2000
    month, day = part.get("month"), part.get("day")
    if "one" in part:
        swapped = order == "month first" and part["mark"] != "."
        day, month = (part["two"], part["one"]) if swapped else (part["one"], part["two"])
    try:
        if part.get("week"):
            date = datetime.fromisocalendar(year, int(part["week"]), 1)
        else:
            date = datetime(year, _month(part, month), int(day or 1))
        return date + _time(part)
    except (ValueError, OverflowError):
        return None


def _month(part: dict[str, str | None], number: str | None) -> int:
    if name := part.get("name"):
        found = [place for place, month in enumerate(_MONTHS, 1) if month.lower().startswith(name.lower())]
        if not found:
            raise ValueError(f"{name} is not a month")
        return found[0]
    if quarter := part.get("quarter"):
        return 3 * int(quarter) - 2
    return int(number or 1)


def _time(part: dict[str, str | None]) -> timedelta:
    if part.get("hour") is None:
        return timedelta(0)
    hour, minute, second = (int(part[unit] or 0) for unit in ("hour", "minute", "second"))
    if half := part["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("no such hour")
        hour = hour % 12 + (12 if half.lower() == "p" else 0)
    if hour > 24 or minute > 59 or second > 59 or (hour == 24 and (minute or second)):
        raise ValueError("no such time")
    fraction = float(f"0.{part['fraction'] or 0}")
    zone = timedelta(0)
    if (offset := part["zone"]) and offset[0] in "+-":
        zone = timedelta(hours=int(offset[:3]), minutes=int(offset[0] + offset[-2:]))
    return timedelta(hours=hour, minutes=minute, seconds=second + fraction) - zone
