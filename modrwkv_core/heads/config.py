"""What a manifest may say about the heads of the core."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modrwkv_core.interfaces.config import HeadConfig

__all__ = ["ForecastConfig", "LanguageModelConfig"]


class LanguageModelConfig(HeadConfig):
    """The next token, by the backbone's own output projection."""

    type: Literal["lm"] = "lm"


class ForecastConfig(HeadConfig):
    """The next points of a series, in the units of the input.

    Source: instance normalization after RevIN, Kim et al., ICLR 2022.
    """

    type: Literal["forecast"] = "forecast"

    horizon: int = Field(default=96, ge=1)
    """Points that one query predicts."""

    context_length: int | None = Field(default=None, ge=1)
    """Latest points of a longer series that a forecast is made from; by default all of them."""

    channels: int = Field(default=1, ge=1)
    """Measurements at each point."""

    loss: Literal["mse", "mae", "huber"] = "mse"
    """Error that training minimizes, in units of each context's standard deviation: squared, absolute, or squared below
    one deviation and absolute above, which takes the weight off contexts that are nearly constant."""

    statistics: Literal["mean", "last"] = "mean"
    """What forecasts are measured from: the mean of the context (RevIN) or its last point, which follows drifting
    series better. The unit is the context's standard deviation in both cases."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of the hidden vector that training sets to zero before the projection."""
