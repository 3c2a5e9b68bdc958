"""What a manifest may say about the heads of the core."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.config import ForecastHeadConfig, TokenHeadConfig, TranscriptHeadConfig
from modrwkv_core.interfaces.signals import TimeSeries

__all__ = ["CtcConfig", "ForecastConfig", "LanguageModelConfig"]

DECILES: Final = tuple(tenths / 10 for tenths in range(1, 10))
MEDIAN: Final = 0.5


class LanguageModelConfig(TokenHeadConfig):
    """The next token, by the backbone's own output projection."""

    type: Literal["lm"] = "lm"


class CtcConfig(TranscriptHeadConfig):
    """The words of a medium, each token at one of its vectors, in order, by connectionist temporal classification.

    Beside ``lm`` it teaches the encoder to hear: with its loss the model cannot learn the words by heart and ignore the
    sound. It needs at least as many vectors as tokens; a medium with fewer has a loss of zero.

    Source: Graves et al., ICML 2006; beside a decoder as in Watanabe et al., arXiv 1609.06773.
    """

    type: Literal["ctc"] = "ctc"

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the hidden vectors that training sets to zero before the projection."""


class ForecastConfig(ForecastHeadConfig):
    """The next points of a series, in the units of the input.

    Source: instance normalization after RevIN, Kim et al., ICLR 2022; linear maps as forecasts, Zeng et al., AAAI 2023.
    """

    type: Literal["forecast"] = "forecast"

    loss: Literal["mse", "mae", "huber", "quantile"] = "mse"
    """Error that training minimizes, in units of each context: squared, absolute, squared below one unit and absolute
    above, or the pinball loss, which gives forecasts with quantiles."""

    quantiles: tuple[float, ...] | None = None
    """Levels of the forecast's quantiles, for the loss `quantile` only: ascending, with the median 0.5, which is the
    point forecast. By default 0.1, 0.2, ... to 0.9."""

    statistics: Literal["mean", "last"] = "mean"
    """What forecasts are measured from: the mean of the context (RevIN) or its last point, which follows drifting
    series better. The unit is the context's standard deviation in both cases."""

    min_scale: float = Field(default=0.2, ge=0.0, le=1.0)
    """Least unit of a context, as a share of the spread of the long series that it is a window of, where the source
    tells it. Without such a floor, what follows a nearly constant context is hundreds of deviations away, and a few
    such windows outweigh all others."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the hidden vector that training sets to zero before the projection."""

    residual: Literal["none", "linear"] = "none"
    """What is added to the points that come from the hidden vector: nothing, or a linear map of the latest
    `context_length` points, one for all channels, which begins at zero. Much of many series is linear in their past."""

    loss_unit: Literal["context", "spread"] = "context"
    """Unit in which training measures errors: that of each context, in which all windows count alike, or the spread of
    the long series that a context is a window of, as benchmarks do, in which restless windows count more."""

    @model_validator(mode="after")
    def _check_residual(self) -> Self:
        if self.residual == "linear" and self.context_length is None:
            raise ValueError("`residual: linear` needs a `context_length`: it is a map of so many points")
        return self

    @model_validator(mode="after")
    def _check_quantiles(self) -> Self:
        if self.quantiles is None:
            return self
        if self.loss != "quantile":
            raise ValueError(f"`quantiles` need `loss: quantile`, not {self.loss}")
        if not all(low < high for low, high in pairwise((0.0, *self.quantiles, 1.0))):
            raise ValueError("`quantiles` must ascend between 0 and 1")
        if MEDIAN not in self.quantiles:
            raise ValueError(f"`quantiles` must hold {MEDIAN}, the point forecast")
        return self

    @property
    def levels(self) -> tuple[float, ...]:
        """Levels of the quantiles that the head gives; empty if it gives points only."""
        if self.loss != "quantile":
            return ()
        return self.quantiles or DECILES

    def prepare(self, signal: TimeSeries, target: Any) -> tuple[TimeSeries, NDArray[np.float32] | None]:
        """Check that the series can be continued and that the target is a continuation of it.

        Returns:
            The series, and the target as ``[points, channels]``.

        Raises:
            DataError: One of them has another number of channels, holds NaN or infinity, the target is longer than the
                horizon, or the loss is measured in a spread that the series does not bring.
        """
        self._check(signal.values, f"the series has the shape {list(signal.values.shape)}", "the series")
        if target is None:
            return signal, None
        if self.loss_unit == "spread" and signal.spread is None:
            raise DataError(
                "the series does not tell its spread, in which the head measures errors",
                component="head/forecast",
                hint="let the source give `TimeSeries(values, spread)`, or set `loss_unit: context`",
            )
        try:
            points = np.asarray(target, dtype=np.float32)
        except (ValueError, TypeError) as error:
            raise DataError("a target is not numbers in rows of equal lengths", component="head/forecast") from error
        points = points[:, None] if points.ndim == 1 else points
        self._check(points, f"a target has the shape {list(points.shape)}", "a target", longest=self.horizon)
        return signal, points

    def _check(self, values: NDArray[Any], shape: str, name: str, longest: int | None = None) -> None:
        fits = values.ndim == 2 and len(values) > 0 and values.shape[1] == self.channels
        if not fits or (longest is not None and len(values) > longest):
            points = "any number of points" if longest is None else f"1 to {longest} points"
            raise DataError(
                f"{shape}, the head takes {points} of {self.channels} channels",
                component="head/forecast",
                hint="change the head's `horizon` and `channels`, or the data",
            )
        if not np.isfinite(values).all():
            raise DataError(
                f"{name} holds NaN or infinite values",
                component="head/forecast",
                hint="fill or leave out missing measurements",
            )
