"""Values that are NaN or infinite, in whatever encoders read."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.checked_series import checked_series
from modrwkv_core.interfaces.frames import checked_frames
from modrwkv_core.interfaces.signals import FeatureFrames, TimeSeries

ROWS, COLUMNS = 5, 3


@given(
    st.dictionaries(
        st.tuples(st.integers(0, ROWS - 1), st.integers(0, COLUMNS - 1)),
        st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    )
)
def test_the_first_value_that_is_not_finite_is_named(wrong: dict[tuple[int, int], float]) -> None:
    values = np.ones((ROWS, COLUMNS), dtype=np.float32)
    for place, value in wrong.items():
        values[place] = value
    frames, series = FeatureFrames(values), TimeSeries(values)
    if not wrong:
        assert checked_frames(frames, COLUMNS, "encoder/features") is frames.values
        assert checked_series(series, COLUMNS, 1, "encoder/wavenet") is series.values
        return
    row, column = min(wrong)
    value = wrong[row, column]
    features = f"the features hold {value} at frame {row} of dim {column} (encoder/features)\nhint: "
    with pytest.raises(DataError, match=re.escape(features)):
        checked_frames(frames, COLUMNS, "encoder/features")
    points = f"the series holds {value} at point {row} of channel {column} (encoder/wavenet)\nhint: "
    with pytest.raises(DataError, match=re.escape(points)):
        checked_series(series, COLUMNS, 1, "encoder/wavenet")
