import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.data.sources.config import CsvWindowsConfig
from modrwkv_core.data.sources.csv_windows import CsvWindowsSource
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Target, Text
from modrwkv_core.interfaces.signals import TimeSeries


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    rows = "".join(f"2016-07-01 {row:02}:00,{row},{row * row}\n" for row in range(20))
    path.write_text("date,x,y\n" + rows)
    return path


def windows(path: Path, **config: Any) -> CsvWindowsSource:
    return CsvWindowsSource(CsvWindowsConfig.model_validate({"path": path, "context_length": 3, "horizon": 2} | config))


def shown(source: CsvWindowsSource, index: int) -> tuple[list[float], list[float]]:
    user, assistant = source[index].turns
    series, answer = user.parts[0], assistant.parts[0]
    assert isinstance(series, Media)
    assert isinstance(series.media, TimeSeries)
    assert isinstance(answer, Target)
    assert series.media.values.shape == (source.config.context_length, 1)
    assert answer.value.shape == (source.config.horizon, 1)
    assert (series.modality, answer.head) == ("series", None)
    assert series.media.values.dtype == answer.value.dtype == np.float32
    return series.media.values[:, 0].tolist(), answer.value[:, 0].tolist()


def test_windows_by_hand(table: Path) -> None:
    source = windows(table)
    assert len(source) == 2 * (20 - 3 - 2 + 1)
    assert shown(source, 0) == ([0, 1, 2], [3, 4])
    assert shown(source, 1) == ([0, 1, 4], [9, 16])
    assert shown(source, len(source) - 1) == ([15**2, 16**2, 17**2], [18**2, 19**2])


def test_targets_stay_in_their_rows_and_windows_look_back(table: Path) -> None:
    source = windows(table, rows=[10, 15], columns=["x"], stride=3, prompt="Go on.")
    assert len(source) == 2
    assert [shown(source, index) for index in range(2)] == [([7, 8, 9], [10, 11]), ([10, 11, 12], [13, 14])]
    assert source[0].turns[0].parts[1] == Text("Go on.")
    assert source[1].key == f"{table}: x from row 13 on"


def test_standardized_by_other_rows(table: Path) -> None:
    source = windows(table, normalize_rows=[0, 3], rows=[5, 20], columns=["y"])
    mean, deviation = 5 / 3, np.sqrt((0 + 1 + 16) / 3 - (5 / 3) ** 2)
    assert shown(source, 0)[1] == pytest.approx([(25 - mean) / deviation, (36 - mean) / deviation])


def spreads(source: CsvWindowsSource) -> list[float]:
    return [source[index].turns[0].parts[0].media.spread.item() for index in range(len(source))]  # type: ignore[union-attr]


def test_the_spread_of_a_window_is_that_of_all_rows_before_its_forecast(table: Path) -> None:
    source = windows(table, rows=[5, 20], columns=["y"])
    assert spreads(source) == pytest.approx([np.std(np.arange(at) ** 2) for at in range(5, 19)], rel=1e-6)


@given(offset=st.floats(-1e6, 1e6), flat=st.integers(3, 20))
def test_the_spread_of_a_constant_start_is_zero(
    tmp_path_factory: pytest.TempPathFactory, offset: float, flat: int
) -> None:
    path = tmp_path_factory.mktemp("flat") / "t.csv"
    path.write_text("x\n" + "".join(f"{offset + max(0, row - flat + 1)}\n" for row in range(30)))
    values = offset + np.maximum(0, np.arange(30) - flat + 1.0)
    expected = [np.std(values[:at]) for at in range(3, 29)]
    found = spreads(windows(path))
    assert found[: flat - 2] == [0.0] * (flat - 2)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("stop", [12, 20])
def test_the_spread_is_that_of_the_rows_named_for_it_and_of_no_others(table: Path, stop: int) -> None:
    rows = {"rows": [5, stop], "columns": ["x"]}
    assert set(spreads(windows(table, spread_rows=[0, 10], **rows))) == {np.float32(np.std(np.arange(10)))}
    assert spreads(windows(table, normalize_rows=[0, 10], **rows)) == pytest.approx([1.0] * (stop - 6))
    both = windows(table, normalize_rows=[0, 10], spread_rows=[0, 5], **rows)
    assert spreads(both)[0] == pytest.approx(np.std(np.arange(5)) / np.std(np.arange(10)))
    with pytest.raises(DataError, match=r"rows \[0, 21\) are wanted"):
        windows(table, spread_rows=[0, 21], **rows)


def test_packed_tables(table: Path) -> None:
    packed = table.with_suffix(".csv.gz")
    packed.write_bytes(gzip.compress(table.read_bytes()))
    assert shown(windows(packed), 7) == shown(windows(table), 7)
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot read"):
        windows(packed)


def test_options_of_the_table(table: Path) -> None:
    table.write_text("tag;x;y\n" + "".join(f"{20 - row};{row},5;{row}\n" for row in range(20)))
    source = windows(table, columns=["x"], time_column="tag", separator=";", decimal=",")
    assert shown(source, 0) == ([19.5, 18.5, 17.5], [16.5, 15.5])


def test_a_table_without_heading_loses_no_row(table: Path) -> None:
    table.write_text("".join(f"{row}.5,0.5\n" for row in range(20)))
    source = windows(table, columns=["1"])
    assert len(source) == 20 - 3 - 2 + 1
    assert shown(source, 0)[0] == [0.5, 1.5, 2.5]


def edit(change: Callable[[str], str]) -> Callable[[Path], object]:
    return lambda path: path.write_text(change(path.read_text()))


@pytest.mark.parametrize(
    ("damage", "config", "message"),
    [
        (Path.unlink, {}, "cannot read"),
        (edit(lambda text: text.replace(",7,", ",,")), {}, "line 9, column 'x' is empty"),
        (edit(lambda text: text.replace(",0,0", ",,0")), {}, "line 2, column 'x' is empty"),
        (edit(lambda text: text.replace(",7,", ",nan,")), {}, "line 9, column 'x' holds 'nan'"),
        (edit(lambda text: text.replace(",7,49", ",7,49,5")), {}, "line 9 has 4 columns"),
        (edit(lambda text: text.replace(",7,49", ",7,1e60")), {}, "numbers above 3.4e38"),
        (edit(lambda text: "date,x\n"), {}, "has a heading but no rows"),
        (edit(lambda text: text), {"columns": ["x", "z"]}, "no column z\nhint: it has: date, x, y"),
        (edit(lambda text: text), {"rows": [0, 21]}, r"rows \[0, 21\) are wanted .* has 20"),
        (edit(lambda text: text), {"rows": [0, 4]}, r"rows \[0, 4\) .* hold no 3 \+ 2 points"),
        (edit(lambda text: text), {"normalize_rows": [0, 1]}, "x .* is constant"),
    ],
)
def test_broken_tables(table: Path, damage: Callable[[Path], object], config: Any, message: str) -> None:
    damage(table)
    with pytest.raises(DataError, match=message):
        windows(table, **config)


def test_rows_must_ascend(table: Path) -> None:
    with pytest.raises(ValueError, match="hold nothing"):
        windows(table, rows=[5, 5])


def test_the_standard_protocol_of_etth1() -> None:
    """Counts and the repeat-last figure that the literature gives for these windows."""
    root = os.environ.get("MODRWKV_DATA")
    if root is None:
        pytest.skip("MODRWKV_DATA is not set: no ETTh1 to read")
    source = windows(
        Path(root) / "ett" / "ETTh1.csv", context_length=336, horizon=96, rows=[11520, 14400], normalize_rows=[0, 8640]
    )
    assert len(source) == 2785 * 7
    errors = []
    for index in range(len(source)):
        series, answer = source[index].turns[0].parts[0], source[index].turns[1].parts[0]
        assert isinstance(series, Media)
        assert isinstance(answer, Target)
        errors.append(np.mean((answer.value - series.media.values[-1]) ** 2, dtype=np.float64))
    assert np.mean(errors) == pytest.approx(1.295, abs=0.002)
