from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn.metrics import mean_pinball_loss

from modrwkv_core.errors import DataError
from modrwkv_core.heads.config import ForecastConfig
from modrwkv_core.heads.forecast import ForecastHead, pinball
from modrwkv_core.interfaces.component import Query
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.testing.fakes import FakeBackbone, FakeBackboneConfig

HIDDEN = torch.randn(3, 8, generator=torch.Generator().manual_seed(1))


def head(**settings: object) -> ForecastHead:
    torch.manual_seed(0)
    made = ForecastHead(ForecastConfig.model_validate({"horizon": 4, **settings}), FakeBackbone(FakeBackboneConfig()))
    torch.nn.init.normal_(made.project.weight)
    return made.eval()


def wave(points: int, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    steps = np.random.default_rng(seed).normal(size=(points, channels))
    return (20.0 + 3.0 * steps.cumsum(axis=0)).astype(np.float32)


def query(context: NDArray[np.float32], target: NDArray[np.float32] | None) -> Query:
    return Query(0, TimeSeries(context), target)


def quantiles(module: ForecastHead, queries: list[Query], hidden: torch.Tensor = HIDDEN) -> NDArray[np.float32]:
    """Return ``[levels, queries, horizon, channels]``."""
    forecasts = module.predict(hidden[: len(queries)], queries)
    assert all(isinstance(forecast, Forecast) for forecast in forecasts)
    return np.stack([list(forecast.quantiles.values()) for forecast in forecasts], axis=1)


def predict(module: ForecastHead, contexts: list[NDArray[np.float32]], hidden: torch.Tensor = HIDDEN) -> torch.Tensor:
    queries = [Query(0, TimeSeries(context), None) for context in contexts]
    return torch.from_numpy(np.stack(module.predict(hidden[: len(contexts)], queries)))


def test_forecasts_come_in_the_units_of_the_input() -> None:
    module = head(channels=2)
    contexts = [wave(30, 2), wave(50, 2, seed=1), wave(9, 2, seed=2)]
    plain = predict(module, contexts)
    assert plain.shape == (3, 4, 2)
    kilo = predict(module, [context * 1000 - 7 for context in contexts])
    torch.testing.assert_close(kilo, plain * 1000 - 7, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(("origin", "baseline"), [("mean", np.mean), ("last", lambda values, axis: values[-1])])
def test_a_fresh_head_repeats_the_mean_or_the_last_point(origin: str, baseline: object) -> None:
    module = ForecastHead(ForecastConfig(horizon=4, statistics=origin), FakeBackbone(FakeBackboneConfig()))
    context = wave(30)
    forecast = predict(module, [context])[0].numpy()
    np.testing.assert_allclose(forecast, np.tile(baseline(context, axis=0), (4, 1)), atol=0.5 * context.std())


@pytest.mark.parametrize(
    ("loss", "error"),
    [
        ("mse", lambda d: d**2),
        ("mae", np.abs),
        ("huber", lambda d: np.where(np.abs(d) < 1, d**2 / 2, np.abs(d) - 0.5)),
    ],
)
def test_loss_is_the_error_in_deviations_of_the_context(loss: str, error: object) -> None:
    module = head(loss=loss, statistics="last")
    contexts, targets = [wave(30, seed=i) for i in range(3)], [wave(4, seed=9 + i) for i in range(3)]
    forecasts = predict(module, contexts).double().numpy()
    expected = np.mean(
        [error((forecasts[i] - targets[i]) / contexts[i].std(dtype=np.float64)).mean() for i in range(3)]
    )
    actual = module.supervise(HIDDEN, [query(c, t) for c, t in zip(contexts, targets, strict=True)])
    assert actual.item() == pytest.approx(expected, rel=1e-4)


def test_points_beyond_a_short_target_do_not_count() -> None:
    module = head()
    contexts, target = [wave(30), wave(30, seed=1)], wave(4, seed=5)
    short = module.supervise(HIDDEN[:1], [query(contexts[0], target[:2])])
    full = module.supervise(HIDDEN[1:2], [query(contexts[1], target)])
    both = module.supervise(HIDDEN[:2], [query(contexts[0], target[:2]), query(contexts[1], target)])
    assert both.item() == pytest.approx((short.item() + full.item()) / 2, rel=1e-6)
    deviation = (predict(module, contexts[:1])[0, :2] - torch.from_numpy(target[:2])) / contexts[0].std()
    assert short.item() == pytest.approx(deviation.square().mean().item(), rel=1e-4)


def test_constant_contexts_carry_no_weight() -> None:
    module = head()
    flat, moving = query(np.full((30, 1), 5.0, np.float32), wave(4)), query(wave(30), wave(4, seed=1))
    alone = module.supervise(HIDDEN[1:2], [moving])
    assert module.supervise(HIDDEN[:2], [flat, moving]).item() == pytest.approx(alone.item(), rel=1e-6)
    nothing = module.supervise(HIDDEN[:1], [flat])
    nothing.backward()
    assert nothing.item() == 0.0
    assert module.project.weight.grad.abs().max().item() == 0.0


def test_a_constant_series_is_continued_by_the_constant() -> None:
    forecast = predict(head(), [np.full((30, 1), 30.531, np.float32)])
    assert (forecast == np.float32(30.531)).all()


def test_the_normalization_is_saved_with_the_weights() -> None:
    trained, fresh = head(), head()
    torch.nn.init.constant_(trained.instance_norm.gain, 3.0)
    torch.nn.init.constant_(trained.instance_norm.bias, -1.0)
    context = [wave(30)]
    assert not torch.allclose(predict(trained, context), predict(fresh, context))
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(predict(trained, context), predict(fresh, context))


def test_reaches_a_forecast_that_depends_on_the_hidden_vector() -> None:
    module = head()
    queries = [query(wave(30, seed=i), wave(4, seed=7 + i)) for i in range(3)]
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss = module.supervise(HIDDEN, queries)
        loss.backward()
        optimizer.step()
    assert loss.item() < 1e-3


def test_hidden_vectors_in_half_precision_are_accepted() -> None:
    assert predict(head(), [wave(30)] * 3, HIDDEN.bfloat16()).dtype is torch.float32


@pytest.mark.parametrize(
    ("series", "target", "message"),
    [
        (wave(30), np.zeros((5, 1)), r"has the shape \[5, 1\], the head takes 1 to 4 points of 1 channels"),
        (wave(30), np.zeros((4, 2)), r"has the shape \[4, 2\]"),
        (wave(30), np.zeros((0, 1)), r"has the shape \[0, 1\]"),
        (wave(30), np.full((4, 1), np.nan), "a target holds NaN"),
        (wave(30), [[1.0], [2.0, 3.0]], "rows of equal lengths"),
        (wave(30), "rising", "not numbers"),
        (
            wave(30, 3),
            np.zeros((4, 1)),
            r"the series has the shape \[30, 3\], the head takes any number of points of 1",
        ),
        (np.zeros((0, 1)), None, r"the series has the shape \[0, 1\]"),
        (np.array([[1.0], [np.nan]]), None, "the series holds NaN"),
    ],
)
def test_series_and_targets_that_cannot_be_used_are_refused(series: Any, target: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ForecastConfig(horizon=4).prepare(TimeSeries(series), target)


def test_plain_numbers_are_one_channel() -> None:
    series = TimeSeries(wave(30))
    kept, target = ForecastConfig(horizon=4).prepare(series, [1, 2, 3])
    assert kept is series
    np.testing.assert_array_equal(target, np.array([[1], [2], [3]], np.float32))
    assert ForecastConfig(horizon=4).prepare(series, None) == (series, None)


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5, unique=True), st.integers(0, 99))
def test_pinball_is_that_of_scikit_learn(levels: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    forecast, target = rng.normal(size=(20, len(levels))), rng.normal(size=(20, 1))
    losses = pinball(torch.from_numpy(forecast), torch.from_numpy(target), torch.tensor(levels, dtype=torch.float64))
    for index, level in enumerate(levels):
        expected = 2 * mean_pinball_loss(target[:, 0], forecast[:, index], alpha=level)
        assert losses[:, index].mean().item() == pytest.approx(expected)


def test_the_quantile_loss_is_the_pinball_loss_in_units_of_the_context() -> None:
    module = head(loss="quantile", quantiles=[0.2, 0.5, 0.7], channels=2)
    contexts, targets = [wave(30, 2, seed=i) for i in range(3)], [wave(4, 2, seed=9 + i) for i in range(3)]
    queries = [query(c, t) for c, t in zip(contexts, targets, strict=True)]
    forecast = quantiles(module, queries)
    unit = np.stack([context.std(axis=0, dtype=np.float64) for context in contexts])[:, None]
    expected = np.mean(
        [
            2 * mean_pinball_loss((targets / unit).ravel(), (values / unit).ravel(), alpha=level)
            for level, values in zip([0.2, 0.5, 0.7], forecast, strict=True)
        ]
    )
    assert module.supervise(HIDDEN, queries).item() == pytest.approx(expected, rel=1e-4)


def test_the_median_alone_is_trained_by_the_absolute_error() -> None:
    queries = [query(wave(30, seed=i), wave(4, seed=7 + i)) for i in range(3)]
    median, absolute = head(loss="quantile", quantiles=[0.5]), head(loss="mae")
    absolute.load_state_dict(median.state_dict())
    assert median.supervise(HIDDEN, queries).item() == pytest.approx(absolute.supervise(HIDDEN, queries).item())


@given(
    hidden=st.lists(st.floats(-30, 30), min_size=8, max_size=8), scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100)
)
def test_quantiles_never_cross_and_come_in_the_units_of_the_input(
    hidden: list[float], scale: float, shift: float
) -> None:
    module = head(loss="quantile", channels=2)
    torch.nn.init.constant_(module.instance_norm.gain, -1.5)
    vector = torch.tensor([hidden])
    context = wave(30, 2)
    plain, other = (quantiles(module, [query(values, None)], vector) for values in (context, (context * scale + shift)))
    assert (np.diff(plain, axis=0) >= 0).all()
    assert (np.diff(other, axis=0) >= 0).all()
    np.testing.assert_allclose(other, plain * scale + shift, rtol=1e-3, atol=1e-2 * max(scale, 1.0))
    [forecast] = module.predict(vector, [query(context, None)])
    assert list(forecast.quantiles) == pytest.approx(np.linspace(0.1, 0.9, 9))
    np.testing.assert_array_equal(forecast.points, forecast.quantiles[0.5])


def test_a_fresh_head_gives_the_quantiles_of_a_normal_distribution() -> None:
    module = ForecastHead(ForecastConfig(loss="quantile"), FakeBackbone(FakeBackboneConfig()))
    context = np.random.default_rng(0).normal(5.0, 2.0, size=(500, 1)).astype(np.float32)
    found = quantiles(module, [query(context, None)])[:, 0, :, 0].mean(axis=1)
    expected = [5.0 + 2.0 * NormalDist().inv_cdf(level / 10) for level in range(1, 10)]
    np.testing.assert_allclose(found, expected, atol=0.5)


def test_quantiles_learn_to_cover_their_shares_of_skewed_noise() -> None:
    """What follows is exponential noise: the head begins with the quantiles of normal noise, which are wrong."""
    rng = np.random.default_rng(0)
    levels = [0.1, 0.5, 0.8, 0.95]
    module = ForecastHead(
        ForecastConfig(horizon=8, loss="quantile", quantiles=levels), FakeBackbone(FakeBackboneConfig())
    )
    context = np.tile([[-1.0], [1.0]], (20, 1)).astype(np.float32)  # of mean 0 and deviation 1

    def queries(count: int) -> list[Query]:
        return [query(context, rng.exponential(size=(8, 1)).astype(np.float32)) for _ in range(count)]

    def shares() -> NDArray[np.float64]:
        asked = queries(400)
        truth = np.stack([one.target for one in asked])
        return np.mean(truth <= quantiles(module.eval(), asked, HIDDEN[:1].expand(400, -1)), axis=(1, 2, 3))

    assert abs(shares() - levels).max() > 0.08
    optimizer = torch.optim.Adam(module.train().parameters(), lr=0.03)
    for _ in range(120):
        optimizer.zero_grad()
        module.supervise(HIDDEN[:1].expand(128, -1), queries(128)).backward()
        optimizer.step()
    np.testing.assert_allclose(shares(), levels, atol=0.04)


@pytest.mark.parametrize("loss", ["mse", "quantile"])
def test_a_nearly_constant_context_cannot_outweigh_the_others(loss: str) -> None:
    module, free = head(loss=loss, min_scale=0.2), head(loss=loss, min_scale=0.0)
    still = 5.0 + 1e-4 * wave(30)
    queries = [Query(0, TimeSeries(still, np.array([2.0], np.float32)), np.full((4, 1), 7.0, np.float32))]
    queries += [query(wave(30), wave(4, seed=1))]
    bounded, exploded = (one.supervise(HIDDEN[:2], queries).item() for one in (module, free))
    assert bounded < 60 < 1000 < exploded


@pytest.mark.parametrize("statistics", ["mean", "last"])
def test_the_residual_is_a_linear_map_of_the_latest_points_in_units_of_the_context(statistics: str) -> None:
    plain = head(channels=2, statistics=statistics)
    module = head(channels=2, statistics=statistics, residual="linear", context_length=20)
    contexts = [wave(20, 2), wave(33, 2, seed=1), wave(12, 2, seed=2)]
    module.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(predict(module, contexts), predict(plain, contexts))  # it begins at zero
    torch.nn.init.normal_(module.residual.weight, std=0.2)
    weights = module.residual.weight.detach().double().numpy()
    for context, with_it, without in zip(contexts, predict(module, contexts), predict(plain, contexts), strict=True):
        values = context.astype(np.float64)
        origin = values.mean(axis=0) if statistics == "mean" else values[-1]
        latest = (values[-20:] - origin) / values.std(axis=0)
        latest = np.concatenate([np.zeros((20 - len(latest), 2)), latest])
        np.testing.assert_allclose(with_it, without.numpy() + values.std(axis=0) * (weights @ latest), rtol=2e-4)


def test_the_residual_shifts_all_quantiles_alike() -> None:
    settings = {"loss": "quantile", "context_length": 20}
    plain, module = head(**settings), head(**settings, residual="linear")
    module.load_state_dict(plain.state_dict(), strict=False)
    torch.nn.init.normal_(module.residual.weight)
    shift = quantiles(module, [query(wave(20), None)]) - quantiles(plain, [query(wave(20), None)])
    assert abs(shift[0]).min() > 0
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:1], shift.shape), rtol=1e-3, atol=1e-4)


def test_errors_can_be_measured_in_the_spread_of_the_long_series() -> None:
    module, spreads = head(loss="mae", loss_unit="spread", min_scale=0.0), (2.0, 50.0, 0.0)
    contexts, targets = [wave(30, seed=i) for i in range(3)], [wave(4, seed=9 + i) for i in range(3)]
    forecasts = predict(module, contexts).numpy()
    errors = [abs(forecasts[i] - targets[i]).mean() / spreads[i] if spreads[i] else 0.0 for i in range(3)]
    queries = [
        Query(0, TimeSeries(context, np.array([spread], np.float32)), target)
        for context, spread, target in zip(contexts, spreads, targets, strict=True)
    ]
    assert module.supervise(HIDDEN, queries).item() == pytest.approx(np.mean(errors), rel=1e-4)
    with pytest.raises(DataError, match="does not tell its spread"):
        module.config.prepare(TimeSeries(contexts[0]), targets[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"residual": "linear"}, "needs a `context_length`"),
        ({"quantiles": [0.1, 0.5]}, "need `loss: quantile`, not mse"),
        ({"loss": "quantile", "quantiles": [0.5, 0.1]}, "must ascend between 0 and 1"),
        ({"loss": "quantile", "quantiles": [0.5, 1.0]}, "must ascend between 0 and 1"),
        ({"loss": "quantile", "quantiles": [0.1, 0.9]}, "must hold 0.5"),
        ({"loss": "quantile", "quantiles": []}, "must hold 0.5"),
        ({"min_scale": -0.1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ForecastConfig.model_validate(settings)
