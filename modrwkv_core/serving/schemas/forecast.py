"""Bodies of ``/v1/forecast``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, FiniteFloat

from modrwkv_core.serving.schemas.common import ListOf, SeriesData

__all__ = ["ForecastRequest", "ForecastResponse"]


class ForecastRequest(SeriesData):
    """A series to continue.

    Attributes:
        values: ``[points]`` or ``[points, channels]``, in units of its own.
        data: A CSV or NumPy file in base64, in the place of ``values``.
        horizon: Points to forecast.
        quantiles: Levels, of those that the model's head gives; by default all.
        head: Name of the forecast head; by default the only one.
    """

    model: str
    horizon: Annotated[int, Field(ge=1)]
    quantiles: ListOf[Annotated[FiniteFloat, Field(gt=0, lt=1)]] | None = None
    head: str | None = None


class ForecastResponse(BaseModel):
    """The continuation of a series.

    Attributes:
        points: ``[horizon, channels]``, in the units of the series.
        quantiles: By level, an array of the same shape.
    """

    object: Literal["forecast"] = "forecast"
    model: str
    horizon: int
    points: list[list[float]]
    quantiles: dict[str, list[list[float]]]
