"""Forecasts of a stream are those of the whole series, and a stream holds no more than a context."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modrwkv_core.errors import DataError, ModRWKVError
from modrwkv_core.inference.session import Session
from modrwkv_core.inference.streaming_forecast import ForecastStream
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble

HORIZON = 10
MakeSession = Callable[..., Session]


@pytest.fixture
def make_session(tiny_manifest: Callable[..., Path], tmp_path: Path) -> MakeSession:
    """Assemble an untrained model whose head has these settings; noise makes every weight matter."""

    def make(**head: Any) -> Session:
        loaded = load_manifest(tiny_manifest(heads={"forecast": {"type": "forecast", "horizon": 6, **head}}))
        torch.manual_seed(0)
        model = assemble(loaded, pretrained=False).eval()
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
        return Session(loaded, model, tmp_path)

    return make


def walk(points: int, channels: int) -> Any:
    return np.random.default_rng(points).normal(5.0, 1.0, (points, channels)).cumsum(0).astype(np.float32)


def assert_same(ours: Forecast, expected: Forecast) -> None:
    np.testing.assert_allclose(ours.points, expected.points, rtol=1e-4)
    assert ours.quantiles.keys() == expected.quantiles.keys()
    for level, values in expected.quantiles.items():
        np.testing.assert_allclose(ours.quantiles[level], values, rtol=1e-4)


@pytest.mark.parametrize(
    ("head", "channels"),
    [({"context_length": 24}, 1), ({"context_length": 24, "loss": "quantile", "statistics": "last"}, 3)],
    ids=["points", "quantiles of each column"],
)
def test_a_stream_forecasts_as_the_whole_series(make_session: MakeSession, head: dict[str, Any], channels: int) -> None:
    session = make_session(**head, min_scale=0.8)
    series = walk(200, channels)
    stream = ForecastStream(session)
    for count, point in enumerate(series, start=1):
        stream.append(point if channels > 1 else float(point[0]))
        if count in (10, 24, 25, 200):
            assert stream.points == count
            assert_same(stream.forecast(HORIZON), session.forecast(series[:count], HORIZON))
    whole, context = session.forecast(series, HORIZON), session.forecast(series[-24:], HORIZON)
    assert not np.allclose(whole.points, context.points, rtol=1e-4), "the spread of earlier points counts"


def test_a_limit_of_the_stream_replaces_that_of_the_head(make_session: MakeSession) -> None:
    session, series = make_session(), walk(100, 1)
    stream = ForecastStream(session, "forecast", context_length=30)
    for point in series:
        stream.append(point)
    expected = session.forecast(TimeSeries(series[-30:], series.std(axis=0)), HORIZON)
    assert_same(stream.forecast(HORIZON), expected)


def test_a_stream_holds_no_more_after_many_points(make_session: MakeSession) -> None:
    stream = ForecastStream(make_session(context_length=24))
    sizes = []
    for count, point in enumerate(walk(20_000, 2), start=1):
        stream.append(point)
        if count in (100, 20_000):
            held = {name: value for name, value in vars(stream).items() if name != "_session"}
            sizes.append(len(pickle.dumps(held)))
    assert sizes[1] - sizes[0] < 16, "only the count of points has more digits"


def test_what_a_stream_cannot_take_is_refused(make_session: MakeSession) -> None:
    with pytest.raises(ModRWKVError, match="reads all points"):
        ForecastStream(make_session())
    session = make_session(context_length=24)
    with pytest.raises(ModRWKVError, match="at most the head's 24"):
        ForecastStream(session, context_length=25)
    with pytest.raises(ModRWKVError, match="no head 'lm'"):
        ForecastStream(session, "lm")
    stream = ForecastStream(session)
    with pytest.raises(DataError, match="no point has come yet"):
        stream.forecast(HORIZON)
    stream.append([1.0, 2.0])
    with pytest.raises(DataError, match=r"point 1 has the shape \[\], not 2 numbers"):
        stream.append(1.0)
    with pytest.raises(DataError, match="point 1 holds NaN or infinity"):
        stream.append([1.0, float("nan")])
    assert stream.points == 1
