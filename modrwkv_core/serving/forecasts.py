"""``POST /v1/forecast``."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter
from fastapi import Request as HTTPRequest
from numpy.typing import NDArray

from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.record import Turn
from modrwkv_core.serving.answers import unless_disconnected
from modrwkv_core.serving.context import Context, make_router
from modrwkv_core.serving.errors import APIError
from modrwkv_core.serving.schemas.common import SeriesData
from modrwkv_core.serving.schemas.forecast import ForecastRequest, ForecastResponse

__all__ = ["forecast_router"]


def forecast_router(context: Context) -> APIRouter:
    """Return the route."""
    router = make_router()

    @router.post("/v1/forecast", response_model=ForecastResponse)
    async def forecast(body: ForecastRequest, http: HTTPRequest) -> ForecastResponse:
        """Continue a series, with quantiles where the model gives them."""
        model = context.models[body.model]
        limit = context.settings.limits.horizon
        if body.horizon > limit:
            raise APIError(400, f"a horizon of {body.horizon:,} points, the limit is {limit:,}", param="horizon")
        session = model.engine.session
        series = await context.media.series(session, SeriesData(values=body.values, data=body.data))
        turns = (Turn("user", (series,)),)
        [found] = await unless_disconnected(
            http, model.run(lambda: session.forecast_all([turns], body.horizon, body.head))
        )
        return ForecastResponse(
            model=body.model,
            horizon=body.horizon,
            points=_numbers(found.points),
            quantiles=_quantiles(found, body.quantiles),
        )

    return router


def _quantiles(found: Forecast, wanted: list[float] | None) -> dict[str, Any]:
    missing = sorted(set(wanted or ()) - set(found.quantiles))
    if missing:
        known = ", ".join(f"{level:g}" for level in found.quantiles) or "none"
        raise APIError(400, f"the head gives no quantile {missing[0]:g}; it gives {known}", param="quantiles")
    levels = found.quantiles if wanted is None else sorted(set(wanted))
    return {f"{level:g}": _numbers(found.quantiles[level]) for level in levels}


def _numbers(values: NDArray[np.float32]) -> list[list[float]]:
    """Return the shortest decimals that are the same float32."""
    if not np.isfinite(values).all():
        raise APIError(400, "the forecast leaves the range of float32; scale the series", param="values")
    return [[float(str(value)) for value in point] for point in values]
