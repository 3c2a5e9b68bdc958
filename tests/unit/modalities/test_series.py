from __future__ import annotations

import io
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.modalities.series import SeriesModality

decode = SeriesModality().decode

TABLES = {
    "plain": "1.0,2.0\n3.0,4.0\n",
    "heading": "load,oil\n1,2\n3,4\n",
    "date": "date,load,oil\n2016-07-01 00:00:00,1,2\n2016-07-01 01:00:00,3,4\n",
    "date without heading": "2016-07-01T00:00:00Z,1,2\n2016-07-01T01:00:00Z,3,4\n",
    "numbers as headings": "date,0,1\n1990/1/1 0:00,1,2\n1990/1/2 0:00,3,4\n",
    "unix time": "timestamp,load,oil\n1467331200,1,2\n1467334800,3,4\n",
    "date in the middle": "load,when,oil\n1,31.12.2020,2\n3,01.01.2021,4\n",
    "time of day": "17:45,1,2\n18:00:30.5,3,4\n",
    "row numbers": ",load,oil\n0,1,2\n1,3,4\n",
    "spaces, blank lines and CRLF": "load, oil\r\n\r\n 1 , 2\r\n3,4\r\n ,\r\n",
    "byte order mark": "\ufeffload,oil\n1,2\n3,4\n",
    "quotes": '"load, total","oil"\n"1","2"\n3,4\n',
    "exponents": "1e0,+2\n3.0,40E-1\n",
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("as_file", [True, False])
def test_tables_of_many_kinds_hold_the_same_series(tmp_path: Path, name: str, as_file: bool) -> None:
    content = TABLES[name].encode()
    path = tmp_path / "series.CSV"
    path.write_bytes(content)
    values = decode(str(path) if as_file else content).values
    assert values.dtype == np.float32
    assert values.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("load,oil\n", "has a heading but no rows"),
        ("load,oil\n1,2\n3,\n", "line 3, column 'oil' is empty"),
        ("load,oil\n\n1,2\n3,nan\n", "line 4, column 'oil' holds 'nan'"),
        ("1,2\n3,inf\n", "line 2, column '2' holds 'inf'"),
        ("1,2\nNA,3\n", "line 2, column '1' holds 'NA'"),
        ("1,NA\n2,3\n", "line 1, column '2' holds 'NA'"),
        ("1,,2\n3,4,5\n", "line 1, column '2' is empty"),
        ("load,oil\n1,high\n", "line 2, column 'oil' holds 'high', which is not a finite number"),
        ("load,oil\n1,2\n3\n", "line 3 has 1 columns where the first line has 2"),
        ("date\n2016-07-01\n", "has no column of numbers"),
        ('a,b\n1,"2\n', "is not a CSV file"),
        ("1,2\n3.0,1e300\n", "holds inf at point 1 of channel 1"),
    ],
)
def test_broken_tables_are_refused_with_file_and_place(tmp_path: Path, table: str, message: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(table)
    with pytest.raises(DataError, match=message) as caught:
        decode(path)
    assert "broken.csv" in str(caught.value)


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(1, 4)),
        elements=st.floats(-(2.0**99), 2.0**99, width=32),
    )
)
def test_arrays_and_their_files_hold_the_same_series(values: np.ndarray) -> None:
    np.testing.assert_array_equal(decode(values).values, values)
    file = io.BytesIO()
    np.save(file, values)
    np.testing.assert_array_equal(decode(file.getvalue()).values, values)


def test_numpy_files_and_lists(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.arange(3))
    assert decode(tmp_path / "one.npy").values.tolist() == [[0.0], [1.0], [2.0]]
    assert decode([0, 1.5]).values.tolist() == [[0.0], [1.5]]
    assert decode([[1, 2], [3, 4]]).values.shape == (2, 2)


def test_a_series_passes() -> None:
    series = TimeSeries(np.ones((3, 2), np.float32))
    assert np.shares_memory(decode(series).values, series.values)
    assert decode(series).spread is None
    assert decode(TimeSeries(series.values, np.array([1.0, 0.0], np.float32))).spread.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("media", "message"),
    [
        ([], "has no points"),
        (np.zeros((4, 0)), "has no points"),
        (TimeSeries(np.zeros((0, 1), np.float32)), "the series has no points"),
        (TimeSeries(np.ones((3, 2), np.float32), np.ones(3, np.float32)), "the spread of a series of 2 channels"),
        (TimeSeries(np.ones((3, 1), np.float32), np.array([-1.0], np.float32)), r"spread .* is \[-1.0\]"),
        (TimeSeries(np.ones((3, 1), np.float32), np.array([np.nan], np.float32)), r"spread .* is \[nan\]"),
        (np.zeros((2, 2, 2)), r"has the shape \[2, 2, 2\]"),
        (3.0, r"has the shape \[\]"),
        ([[1.0, 2.0], [3.0]], "is not an array"),
        (["a", "b"], "not numbers"),
        ([1.0, None], "not numbers"),
        ([1j], "not numbers"),
        ([1.0, float("nan")], "holds nan at point 1 of channel 0"),
        ([[1.0, 2.0], [3.0, float("inf")]], "holds inf at point 1 of channel 1"),
    ],
)
def test_arrays_that_are_no_series_are_refused(media: ArrayLike, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        decode(media)
    assert caught.value.hint


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*absent\.csv: No such file"):
        decode(tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"cannot read .*folder\.csv"):
        decode(tmp_path / "folder.csv")
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"image\.png is not a CSV file"):
        decode(tmp_path / "image.png")
    np.save(tmp_path / "cut.npy", np.arange(100.0))
    cut = tmp_path / "cut.npy"
    cut.write_bytes(cut.read_bytes()[:300])
    with pytest.raises(DataError, match=r"cut\.npy is a damaged NumPy file"):
        decode(cut)
    with pytest.raises(DataError, match="is not a CSV file"):
        decode(b"\xff\xfe\x00 not text")


@given(st.lists(st.tuples(st.integers(8, 127), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_header_is_refused_or_still_a_series(damage: list[tuple[int, int]]) -> None:
    file = io.BytesIO()
    np.save(file, np.arange(40.0).reshape(20, 2))
    content = bytearray(file.getvalue())
    for place, value in damage:
        content[place] = value
    with suppress(DataError):
        assert np.isfinite(decode(bytes(content)).values).all()


@pytest.mark.parametrize("shape", ["(99999999999999, 2)", "(20, 2", "(20, 'a')", "{20: 2}"])
def test_headers_that_trip_numpy_are_refused(shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(320)
    with pytest.raises(DataError, match="damaged NumPy file"):
        decode(content)


def test_one_point_and_constants_are_series() -> None:
    """Whether they are enough is the encoder's to say."""
    assert decode(b"oil\n30.5\n").values.tolist() == [[30.5]]
    assert decode([7] * 5).values.tolist() == [[7.0]] * 5


def test_a_numpy_file_cannot_run_code(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="never unpickled"):
        decode(tmp_path / "objects.npy")


def test_workers_can_receive_the_modality() -> None:
    assert pickle.loads(pickle.dumps(SeriesModality())).decode([1.0]).values.tolist() == [[1.0]]
