"""What all routes of one server share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter

from modrwkv_core.serving.errors import APIError, ErrorBody
from modrwkv_core.serving.json_body import JSONRoute
from modrwkv_core.serving.media import MediaReader
from modrwkv_core.serving.messages import MessageReader
from modrwkv_core.serving.metrics import Metrics
from modrwkv_core.serving.models import Models
from modrwkv_core.serving.response_store import ResponseStore
from modrwkv_core.serving.settings import ServeSettings

__all__ = ["Context", "content_types", "make_router", "stop_texts"]

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": ErrorBody, "description": "The request is at fault."},
    "5XX": {"model": ErrorBody, "description": "The server is at fault."},
}


@dataclass(slots=True)
class Context:
    """What all routes of one server share.

    Attributes:
        models: By name.
        settings: Limits and the like.
        metrics: Counts.
        media: Reads media.
        messages: Reads messages.
        responses: Keeps what later responses go on from.
        ready: Whether the models are warm, and the server is not about to stop.
    """

    models: Models
    settings: ServeSettings
    metrics: Metrics
    media: MediaReader
    messages: MessageReader
    responses: ResponseStore
    ready: bool = False

    def max_tokens(self, wanted: int | None) -> int:
        """Return the tokens that an answer may have.

        Raises:
            APIError: More are wanted than the server allows.
        """
        limit = self.settings.limits.tokens
        if wanted is not None and wanted > limit:
            raise APIError(400, f"{wanted:,} tokens are wanted, the limit is {limit:,}", param="max_tokens")
        return wanted or limit

    def check_choices(self, choices: int) -> None:
        """Refuse too many answers to one request.

        Raises:
            APIError: There are.
        """
        limit = self.settings.limits.choices
        if choices > limit:
            raise APIError(400, f"{choices} answers are wanted, the limit is {limit}", param="n")


def make_router() -> APIRouter:
    """Return a router whose routes document errors in OpenAI's shape."""
    return APIRouter(responses=_ERRORS, route_class=JSONRoute)


def content_types(*names: str) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of a route that answers in these formats besides its model's JSON."""
    return {200: {"content": {name: {} for name in names}, "description": "The answer, in the format asked for."}}


def stop_texts(stop: str | list[str] | None) -> tuple[str, ...]:
    """Return the texts that end an answer.

    Raises:
        APIError: There are more than OpenAI allows, or one is empty.
    """
    texts = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(texts) > 4 or "" in texts:
        raise APIError(400, "stop takes up to 4 texts, none of them empty", param="stop")
    return texts
