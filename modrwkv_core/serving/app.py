"""The application: models, routes and limits together."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from anyio import to_thread
from fastapi import FastAPI

from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.sessions import SessionStore
from modrwkv_core.interfaces.record import Text, Turn
from modrwkv_core.serving.auth import Authentication
from modrwkv_core.serving.chat import chat_router
from modrwkv_core.serving.completions import completions_router
from modrwkv_core.serving.context import Context
from modrwkv_core.serving.errors import register_handlers
from modrwkv_core.serving.forecasts import forecast_router
from modrwkv_core.serving.hosts import LocalHosts, is_loopback
from modrwkv_core.serving.limits import RequestLimits
from modrwkv_core.serving.media import MediaReader
from modrwkv_core.serving.media_budget import MediaBudget
from modrwkv_core.serving.messages import MessageReader
from modrwkv_core.serving.metrics import Metrics, RequestMetrics
from modrwkv_core.serving.models import Model, Models
from modrwkv_core.serving.probes import probes_router
from modrwkv_core.serving.realtime import realtime_router
from modrwkv_core.serving.response_store import ResponseStore
from modrwkv_core.serving.responses import responses_router
from modrwkv_core.serving.sessions import sessions_router
from modrwkv_core.serving.settings import ServeSettings
from modrwkv_core.serving.transcriptions import transcriptions_router
from modrwkv_core.serving.web import page_router

__all__ = ["create_app"]

logger = logging.getLogger(__name__)

_WARM_UP_TOKENS = 8


def create_app(
    models: Mapping[str, Engine],
    settings: ServeSettings | None = None,
    host: str | None = None,
    replica: str | None = None,
) -> FastAPI:
    """Return the application that serves ``models``.

    It warms the models up when it starts. When it stops, it closes their engines, and then what keeps their
    conversations.

    Args:
        models: Engines by the name that requests call them.
        settings: Keys and limits.
        host: Address that the server listens at. Without keys at a loopback address, only requests to local names are
            answered, and none from pages of other hosts; None answers all.
        replica: Which of several servers this is, for metrics.
    """
    settings = settings or ServeSettings()
    metrics = Metrics(models, replica)
    budget = MediaBudget(settings.limits)
    media = MediaReader(settings, budget)
    served = {name: Model(name, engine, _sessions(engine, name, settings), metrics) for name, engine in models.items()}
    context = Context(
        models=Models(served),
        settings=settings,
        metrics=metrics,
        media=media,
        messages=MessageReader(media, settings.limits),
        responses=ResponseStore(settings.limits.responses),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for model in context.models:
            await to_thread.run_sync(partial(_warm_up, model.engine))
        context.ready = True
        yield
        context.ready = False
        for model in context.models:
            await to_thread.run_sync(model.engine.close)  # its last answers still join their conversations
            await to_thread.run_sync(model.sessions.close)

    app = FastAPI(title="ModRWKV", version=version("modrwkv"), lifespan=lifespan, docs_url=None, redoc_url=None)
    register_handlers(app, settings.limits.retry_after_seconds)
    for router in (
        chat_router,
        completions_router,
        responses_router,
        transcriptions_router,
        forecast_router,
        realtime_router,
        sessions_router,
        probes_router,
    ):
        app.include_router(router(context))
    if settings.ui:
        app.include_router(page_router())
    # The one added last sees a request first.
    app.add_middleware(RequestLimits, limits=settings.limits, media=budget)
    app.add_middleware(Authentication, keys=settings.api_keys)
    if host is not None and not settings.api_keys and is_loopback(host):
        app.add_middleware(LocalHosts, host=host)
    app.add_middleware(RequestMetrics, metrics=metrics)
    return app


def _sessions(engine: Engine, name: str, settings: ServeSettings) -> SessionStore:
    folder = settings.sessions_folder
    return SessionStore(
        engine,
        None if folder is None else folder / name,
        settings.limits.sessions,
        shared=settings.shared_sessions,
    )


def _warm_up(engine: Engine) -> None:
    """Answer once, so that kernels are compiled and graphs captured before the first client asks."""
    if not engine.session.model.token_heads():
        return
    request = Request((Turn("user", (Text("Hello"),)),), max_tokens=_WARM_UP_TOKENS)
    engine.submit(request).result()
