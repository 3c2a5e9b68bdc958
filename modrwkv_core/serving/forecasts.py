"""``POST /v1/forecast``."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from anyio import to_thread
from fastapi import APIRouter
from fastapi import Request as HTTPRequest
from numpy.typing import NDArray
from starlette.responses import Response

from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.config import ForecastHeadConfig
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.record import Turn
from modrwkv_core.serving.answers import unless_disconnected
from modrwkv_core.serving.context import Context, make_router
from modrwkv_core.serving.errors import APIError, deadline_exceeded
from modrwkv_core.serving.schemas.forecast import ForecastRequest, ForecastResponse

__all__ = ["forecast_router"]


def forecast_router(context: Context) -> APIRouter:
    """Return the route."""
    router = make_router()

    @router.post("/v1/forecast", response_model=ForecastResponse)
    async def forecast(body: ForecastRequest, http: HTTPRequest) -> Response:
        """Continue a series, with quantiles where the model gives them."""
        try:
            async with asyncio.timeout(context.settings.limits.request_seconds):
                content = await unless_disconnected(http, _forecast(context, body))
        except TimeoutError:
            raise deadline_exceeded("ask for fewer points, or send a shorter series") from None
        return Response(content, media_type="application/json")

    return router


async def _forecast(context: Context, body: ForecastRequest) -> bytes:
    model = context.models[body.model]
    limits = context.settings.limits
    if body.horizon > limits.horizon:
        raise APIError(400, f"a horizon of {body.horizon:,} points, the limit is {limits.horizon:,}", param="horizon")
    session = model.engine.session
    series = await context.media.series(session, body)
    numbers = body.horizon * series.media.values.shape[1] * (1 + _levels(session, body.head))
    if numbers > limits.forecast_numbers:
        raise APIError(
            400, f"a forecast of {numbers:,} numbers, the limit is {limits.forecast_numbers:,}", param="horizon"
        )
    turns = (Turn("user", (series,)),)
    [found] = await model.run(lambda: session.forecast_all([turns], body.horizon, body.head))
    return await to_thread.run_sync(_content, body, found)


def _levels(session: Session, head: str | None) -> int:
    config = session.model.query_heads()[session.head_names.forecast(head)].config
    assert isinstance(config, ForecastHeadConfig)
    return len(config.levels)


def _content(body: ForecastRequest, found: Forecast) -> bytes:
    response = ForecastResponse(
        model=body.model,
        horizon=body.horizon,
        points=_numbers(found.points),
        quantiles=_quantiles(found, body.quantiles),
    )
    return response.model_dump_json().encode()


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
