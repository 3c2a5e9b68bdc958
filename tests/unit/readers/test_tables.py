from __future__ import annotations

import gzip
import warnings
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import DataError
from modrwkv_core.readers.table import Table, TableOptions
from modrwkv_core.readers.tables import read_table


def read(text: str, **options: object) -> Table:
    return read_table(text.encode(), TableOptions(**options))  # type: ignore[arg-type]


def days(count: int, first: date = date(2024, 1, 1)) -> list[str]:
    return [(first + timedelta(days=day)).isoformat() for day in range(count)]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1.5,2\n3,4\n",
        "a;b\n1.5;2\n3;4\n",
        "a;b\n1,5;2\n3;4\n",
        "a\tb\n1,5\t2\n3\t4\n",
        "a|b\n1.5|2\n3|4\n",
        'a,b\n"1,5",2\n3,4\n',
        "\ufeffa,b\r\n1.5,2\r\n3,4\r\n\r\n,\r\n",
        "year;a;b\n1999;1,5;2\n2000;3;4\n",
        "a,Month,b\n1.5,1949-01,2\n3,1949-02,4\n",
        "quarter,a,b\n1990Q4,1.5,2\n1991Q1,3,4\n",
        "day,a,b\n31-Jan-2024,1.5,2\n01-Feb-2024,3,4\n",
        "timestamp,a,b\n1700000000,1.5,2\n1700003600,3,4\n",
        "when,a,b\n31/12/2024,1.5,2\n01/01/2025,3,4\n",
        "when,a,b\n12/31/2024,1.5,2\n01/01/2025,3,4\n",
        "date,time,a,b\n2024-01-01,23:30,1.5,2\n2024-01-02,00:00,3,4\n",
        "year,month,a,b\n2024,12,1.5,2\n2025,1,3,4\n",
        "date,a,b\n2024-01-02,3,4\n2024-01-01,1.5,2\n",
        ",a,b\n1,3,4\n0,1.5,2\n",
    ],
)
def test_one_table_in_many_spellings(text: str) -> None:
    table = read(text)
    assert table.values.tolist() == [[1.5, 2.0], [3.0, 4.0]]
    assert table.names == ("a", "b")
    assert table.headed


@pytest.mark.parametrize(
    ("text", "options", "values"),
    [
        ("level\n20,50\n21,25\n", {}, [[20.5], [21.25]]),
        ("20,50\n21,25\n", {"decimal": ","}, [[20.5], [21.25]]),
        ("20,50\n21,25\n", {"decimal": "."}, [[20, 50], [21, 25]]),
        ("20,50\n21,25\n", {"separator": ","}, [[20, 50], [21, 25]]),
        ("level\n1,200\n2,300\n", {"decimal": ","}, [[1.2], [2.3]]),
        ("2020,2021\n1,2\n3,4\n", {"columns": ("2020", "2021")}, [[1, 2], [3, 4]]),
        ("1 2\n3 4\n", {"separator": " "}, [[1, 2], [3, 4]]),
        ("a,timestamp\n1,7\n2,8\n", {"columns": ("timestamp", "a")}, [[7, 1], [8, 2]]),
        ("place,a,b\nBonn,1,2\nKiel,3,4\n", {"columns": ("b",)}, [[2], [4]]),
        ("a,a,b\n1,2,3\n", {"columns": ("b",)}, [[3]]),
        ("n,a\n2,5\n1,6\n", {"time_column": "n"}, [[6], [5]]),
    ],
)
def test_options_decide(text: str, options: dict[str, object], values: list[list[float]]) -> None:
    assert read(text, **options).values.tolist() == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("20,50\n21,25\n", "several ways.*separator"),
        ("level\n1,200\n2,300\n", "marks thousands.*decimal"),
        ("date,level\n2024-01-01,20,31\n2024-01-02,21,25\n", "line 2 has 3 columns .*decimal"),
        ("a,b\n1,2\n3\n", "line 3 has 1 columns"),
        ("date,a,b\n2024-01-01,20.0,NA\n2024-01-02,1,2\n", "line 2, column 'b' holds 'NA'"),
        ("a\n1\n\n3\n", "line 3, column 'a' is empty"),
        ("a,b\n1,2\n,\n3,4\n", "line 3, column 'a' is empty"),
        ("a,a\n1,2\n", "several columns named a"),
        ("a,\n1,2\n", "column 2 has no heading"),
        ("a,b\n1_0,2\n", "holds '1_0'"),
        ("a;b\n1.5;2,5\n", "holds '2,5'.*decimal"),
        ("place,a\nBonn,1\n", "'place' holds 'Bonn'.*columns"),
        ("date,a\n2024-01-01,1\n2024-01-02,2\nTotal,3\n", "line 4, column 'date' holds 'Total', which is not a date"),
        ("date,a\n2024-01-01,1\n,2\n", "line 3, column 'date' is empty"),
        (",", "holds no measurements"),
        (";;\n\n;;\n", "holds no measurements"),
        ("date,a\n2024-02-30,1\n2024-03-01,2\n", "line 2, column 'date' holds '2024-02-30'"),
        ("date,a\n2024-01-01,1\n2024-01-02,2\n2024-01-01,3\n", "line 4, .* is also in line 2"),
        ("date,a\n01/02/2024,1\n05/07/2024,2\n", "days and months cannot be told apart"),
        ("year,month,a\n2024,13,1\n", "'2024 13', which is not a date"),
        ('{"y": [1, 2]}', "is JSON"),
    ],
)
def test_what_could_be_misread_is_refused(text: str, message: str) -> None:
    with pytest.raises(DataError, match=f"(?s){message}"):
        read(text)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [*days(5), *days(5, date(2024, 1, 9))],
            r"1 of 9 steps differ .* 1 day.*'2024-01-05' \(line 6\) to '2024-01-09'",
        ),
        (["1", "2", "3", "7"], "1 of 3 steps differ from the usual 1.0"),
    ],
)
def test_gaps_are_named(rows: list[str], message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        table = read("date,a\n" + "".join(f"{row},1.5\n" for row in rows))
    assert table.clock is not None
    assert table.clock.after(1) is None


@pytest.mark.parametrize(
    ("rows", "following"),
    [
        (days(3), ["2024-01-04", "2024-01-05"]),
        (["2024-01-31", "2024-02-29", "2024-03-31"], ["2024-04-30", "2024-05-31"]),
        (["1949-11", "1949-12", "1950-01"], ["1950-02-01", "1950-03-01"]),
        (["2024-01-04", "2024-01-05", "2024-01-08"], ["2024-01-09", "2024-01-10"]),
        (["2024-01-01 22:00", "2024-01-01 23:00"], ["2024-01-02 00:00:00", "2024-01-02 01:00:00"]),
        (["2024-01-01T22:00+02:00", "2024-01-01T21:00Z"], ["2024-01-01 22:00:00", "2024-01-01 23:00:00"]),
        (["20240131", "20240201"], ["2024-02-02", "2024-02-03"]),
        (["1700000000", "1700003600"], ["1700007200", "1700010800"]),
    ],
)
def test_clocks_go_on(rows: list[str], following: list[str]) -> None:
    table = read("date,a\n" + "".join(f"{row},1.5\n" for row in rows))
    assert table.clock is not None
    assert table.clock.after(2) == following


def test_packed_tables(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a\n1\n2\n"))
    assert read_table(path).values.tolist() == [[1], [2]]
    for damage in (path.read_bytes()[:-9], path.read_bytes() + b"a\n1\n", b"\x1f\x8b\x08" + bytes(40)):
        path.write_bytes(damage)
        with pytest.raises(DataError, match="cannot read"):
            read_table(path)


def test_packed_tables_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    content = gzip.compress(b"a\n" + b"1\n" * 10_000)
    monkeypatch.setenv("MODRWKV_MAX_FILE_BYTES", "5000")
    with pytest.raises(DataError, match="more than 5,000"):
        read_table(content)


@given(
    values=st.lists(
        st.tuples(*[st.floats(-9e6, 9e6).map(lambda value: round(value, 2)) for _ in range(2)]), min_size=1, max_size=6
    ),
    separator=st.sampled_from(",;\t|"),
    decimal=st.sampled_from(".,"),
    headed=st.booleans(),
    dated=st.booleans(),
    newest_first=st.booleans(),
    whole=st.booleans(),
)
def test_a_table_is_read_right_or_refused(
    values: list[tuple[float, float]],
    separator: str,
    decimal: str,
    headed: bool,
    dated: bool,
    newest_first: bool,
    whole: bool,
) -> None:
    numbers = [[int(value) if whole else value for value in row] for row in values]
    lines = [
        separator.join([*([day] if dated else []), *(str(number).replace(".", decimal) for number in row)])
        for day, row in zip(days(len(numbers)), numbers, strict=True)
    ]
    if newest_first and dated:
        lines.reverse()
    if headed:
        lines.insert(0, separator.join([*(["date"] if dated else []), "a", "b"]))
    text = "\n".join(lines)
    plain = decimal == "." or separator != ","
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = read(text).values.tolist()
    except DataError:
        assert not plain or not headed or any("," in line for line in lines), "a plain table is read"
    else:
        if plain or whole:
            assert found == numbers
        else:
            assert not headed, "headings show that decimal commas are not separators"
    if plain:
        assert read(text, separator=separator, decimal=decimal).values.tolist() == numbers


def test_many_columns_are_read_by_column() -> None:
    numbers = np.arange(3000.0).reshape(300, 10)
    text = "\n".join(",".join(map(str, row)) for row in numbers)
    np.testing.assert_array_equal(read(text).values, numbers)
