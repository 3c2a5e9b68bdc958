"""``/healthz``, ``/readyz``, ``/metrics`` and ``/v1/models``."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from modrwkv_core.serving.context import Context, content_types, make_router
from modrwkv_core.serving.errors import APIError
from modrwkv_core.serving.models import Model

__all__ = ["probes_router"]


class Status(BaseModel):
    """That all is well."""

    status: Literal["ok"] = "ok"


class ModelCard(BaseModel):
    """A model.

    Attributes:
        modalities: What it takes besides text.
        heads: The names of its heads, by what they do.
    """

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["modrwkv"] = "modrwkv"
    modalities: list[str]
    heads: dict[str, list[str]]


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


def probes_router(context: Context) -> APIRouter:
    """Return the routes."""
    router = make_router()

    @router.get("/healthz")
    async def healthz() -> Status:
        """Say that the process runs and all engines work; where one has failed, only a restart helps."""
        _check_engines(context)
        return Status()

    @router.get("/readyz")
    async def readyz() -> Status:
        """Say whether the models are warm, and the server is not about to stop."""
        if not context.ready:
            raise APIError(503, "the server is not ready", code="not_ready", headers={"Retry-After": "5"})
        _check_engines(context)
        return Status()

    @router.get("/metrics", response_class=Response, responses=content_types("text/plain"))
    async def metrics() -> Response:
        """Return the metrics for Prometheus."""
        return Response(context.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/v1/models")
    async def models() -> ModelList:
        """List the models."""
        return ModelList(data=[_card(model) for model in context.models])

    @router.get("/v1/models/{name}")
    async def model(name: str) -> ModelCard:
        """Describe a model."""
        return _card(context.models[name])

    return router


def _check_engines(context: Context) -> None:
    failed = [model.name for model in context.models if model.engine.failure is not None]
    if failed:
        raise APIError(503, f"the engine of {', '.join(failed)} has failed; restart the server", code="engine_failed")


def _card(model: Model) -> ModelCard:
    built = model.engine.session.model
    return ModelCard(
        id=model.name,
        created=model.created,
        modalities=sorted(built.preprocessors),
        heads={
            "tokens": sorted(built.token_heads()),
            "transcripts": sorted(built.transcript_heads()),
            "queries": sorted(built.query_heads()),
        },
    )
