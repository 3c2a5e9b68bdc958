from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modrwkv_core.readers.dates import Step, find_step, is_date, is_time_of_day, parse_dates

MOMENT = datetime(2024, 1, 31, 17, 45, 30)


@pytest.mark.parametrize(
    "cell",
    [
        "2024-01-31 17:45:30",
        "2024-01-31T17:45:30Z",
        "2024-01-31T19:45:30+02:00",
        "2024/1/31 17:45:30",
        "31.01.2024 17:45:30",
        "31/01/2024 5:45:30 PM",
        "1/31/2024 5:45:30 p.m.",
        "1/31/24, 17:45:30",
        "31-Jan-2024 17:45:30",
        "31 January 2024 17:45:30",
        "January 31, 2024 17:45:30",
    ],
)
def test_spellings_of_one_moment(cell: str) -> None:
    assert is_date(cell)
    assert parse_dates([cell]) == [MOMENT]


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("1949-03", datetime(1949, 3, 1)),
        ("1990Q4", datetime(1990, 10, 1)),
        ("Q2 1990", datetime(1990, 4, 1)),
        ("2024-W05", datetime(2024, 1, 29)),
        ("Mar-24", datetime(2024, 3, 1)),
        ("Sept 1999", datetime(1999, 9, 1)),
        ("2024-01-31 24:00", datetime(2024, 2, 1)),
        ("1/2/69", None),
    ],
)
def test_coarse_dates(cell: str, moment: datetime | None) -> None:
    assert is_date(cell)
    if moment is not None:
        assert parse_dates([cell]) == [moment]


@pytest.mark.parametrize("cell", ["", "12", "1.5", "2024", "20240131", "load", "2024-13-01", "31/31/2024", "Foo 2024"])
def test_no_dates(cell: str) -> None:
    assert not is_date(cell)


def test_times_of_day() -> None:
    assert is_time_of_day("17:45")
    assert is_time_of_day("5:45:00.5 PM")
    assert not is_time_of_day("2024-01-31 17:45")


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2068, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),
    st.sampled_from(["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%d-%b-%Y %H:%M:%S", "%Y/%m/%d %I:%M:%S %p"]),
)
def test_written_moments_are_read_back(moment: datetime, written: str) -> None:
    assert parse_dates([moment.strftime(written)]) == [moment]


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2030, 1, 1)),
    st.one_of(
        st.timedeltas(timedelta(seconds=1), timedelta(days=400)).map(lambda span: Step(time=span)),
        st.integers(1, 24).map(lambda months: Step(months=months)),
        st.just(Step(workdays=True)),
    ),
    st.integers(6, 12),
)
@example(datetime(1998, 4, 1), Step(months=18), 6)
def test_a_step_is_found_again(first: datetime, step: Step, count: int) -> None:
    moments = [first.replace(day=min(first.day, 28))]
    if step.workdays:
        moments[0] -= timedelta(days=max(0, moments[0].weekday() - 4))
    while len(moments) < count:
        moments.append(step.after(moments[-1], False))
    found = find_step(moments)
    assert found is not None
    assert found.after(moments[-1], False) == step.after(moments[-1], False)
