"""Parquet tables are read by the rules of text, which are the judge."""

import builtins
import io
import warnings
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, parquet

from modrwkv_core.data.sources.config import CsvWindowsConfig
from modrwkv_core.data.sources.csv_windows import CsvWindowsSource
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Target
from modrwkv_core.modalities.series import SeriesModality
from modrwkv_core.readers.table import Table, TableOptions
from modrwkv_core.readers.tables import read_table


def packed(table: pyarrow.Table) -> bytes:
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


def written(table: pyarrow.Table) -> bytes:
    file = io.BytesIO()
    csv.write_csv(table, file, csv.WriteOptions(quoting_style="none"))
    return file.getvalue()


def read(content: bytes, **options: Any) -> Table:
    return read_table(content, TableOptions(**options))


DAYS = [datetime(2024, 1, 31, 12) + timedelta(days=day) for day in range(6)]
LEVELS = [1.5, 2.25, -3.0, 4.0, 0.125, 6.0]


@pytest.mark.parametrize(
    "times",
    [
        DAYS,
        DAYS[::-1],
        [day.date() for day in DAYS],
        [day.isoformat(sep=" ") for day in DAYS],
        list(range(10, 16)),
    ],
)
def test_times_order_rows_as_in_text(times: list[Any]) -> None:
    table = pyarrow.table({"time": times, "level": LEVELS, "flow": [1, 2, 3, 4, 5, 6]})
    found, expected = read(packed(table)), read(written(table))
    assert found.names == expected.names == ("level", "flow")
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.clock is not None
    assert expected.clock is not None
    assert found.clock.after(3) == expected.clock.after(3)


@given(values=st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 2), min_size=1, max_size=20))
def test_numbers_are_kept(values: list[tuple[float, float]]) -> None:
    array = np.array(values)
    for kind in (pyarrow.float64(), pyarrow.float32()):
        table = pyarrow.table({name: pyarrow.array(array[:, column], kind) for column, name in enumerate("ab")})
        np.testing.assert_array_equal(read(packed(table)).values, array)


def test_moments_with_a_time_zone_are_read_in_utc() -> None:
    local = [moment.replace(tzinfo=timezone(timedelta(hours=2))) for moment in DAYS]
    clock = read(packed(pyarrow.table({"when": local, "level": LEVELS}))).clock
    assert clock is not None
    assert clock.last == DAYS[-1] - timedelta(hours=2)


def test_a_gap_is_named_in_a_warning() -> None:
    table = pyarrow.table({"date": [*DAYS[:3], *(day + timedelta(days=9) for day in DAYS[3:])], "level": LEVELS})
    with pytest.warns(UserWarning, match="1 of 5 steps differ"):
        read(packed(table))


def test_columns_are_chosen() -> None:
    table = pyarrow.table({"level": LEVELS, "place": ["x"] * 6, "order": list(range(6, 0, -1))})
    chosen = read(packed(table), columns=("level",), time_column="order")
    np.testing.assert_array_equal(chosen.values[:, 0], LEVELS[::-1])


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ({"level": [1.0, None, 2.0]}, {}, r"row 2, column 'level' is empty"),
        ({"level": [1.0, 2.0, float("nan")]}, {}, r"row 3, column 'level' holds nan"),
        ({"level": ["low", "high"]}, {}, r"column 'level' holds string, not numbers"),
        ({"on": [True, False]}, {}, r"column 'on' holds bool, not numbers"),
        ({"date": [date(2024, 1, 1)]}, {}, "has no column of numbers"),
        ({"date": [DAYS[0], DAYS[0]], "level": [1.0, 2.0]}, {}, "is also in line 1"),
        ({"level": LEVELS}, {"columns": ("depth",)}, r"has no column depth"),
        ({"level": LEVELS}, {"separator": ";"}, "`separator` and `decimal` are about text"),
        ({"level": pyarrow.array([], pyarrow.float64())}, {}, "has no rows"),
    ],
)
def test_bad_tables_are_refused(table: dict[str, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(packed(pyarrow.table(table)), **options)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    content = packed(pyarrow.table({"level": LEVELS, "flow": LEVELS}))
    with pytest.raises(DataError, match="several columns named level"):
        read(packed(pyarrow.Table.from_arrays([pyarrow.array(LEVELS)] * 2, names=["level", "level"])))
    (tmp_path / "cut.parquet").write_bytes(content[:-20])
    with pytest.raises(DataError, match=r"cut\.parquet is a damaged Parquet file"):
        read_table(tmp_path / "cut.parquet")


def test_without_pyarrow_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    content = packed(pyarrow.table({"level": LEVELS}))
    load = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ModuleNotFoundError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"pip install 'modrwkv\[parquet\]'"):
        read(content)


def test_windows_and_series_of_a_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "waves.parquet").write_bytes(packed(pyarrow.table({"date": DAYS, "level": LEVELS})))
    source = CsvWindowsSource(CsvWindowsConfig(path=tmp_path / "waves.parquet", context_length=3, horizon=2))
    assert len(source) == 2
    seen, ahead = source[1].turns[0].parts[0], source[1].turns[1].parts[0]
    assert isinstance(seen, Media)
    assert isinstance(ahead, Target)
    np.testing.assert_array_equal(seen.media.values[:, 0], LEVELS[1:4])
    np.testing.assert_array_equal(ahead.value[:, 0], LEVELS[4:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoded = SeriesModality().decode(tmp_path / "waves.parquet")
    np.testing.assert_array_equal(decoded.values[:, 0], np.array(LEVELS, np.float32))
