"""Errors in OpenAI's shape, with the right status, and without paths or tracebacks."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from modrwkv_core.errors import CheckpointError, DataError, EngineError, ModRWKVError, QueueFullError, SessionBusyError

__all__ = [
    "APIError",
    "ErrorBody",
    "as_api_error",
    "busy",
    "deadline_exceeded",
    "error_response",
    "invalid_value",
    "not_found",
    "refuse",
    "register_handlers",
    "too_many_values",
    "without_paths",
]

logger = logging.getLogger(__name__)

_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_INTERNAL: Final = "the server failed to answer; its log says why"
_PATH: Final = re.compile(r"(?<![\w/:.])/[\w.+@~-]+(?:/[\w.+@~-]+)+/?")
"""What looks like an absolute path: two names at least, so that `and/or` and `/v1` stay."""


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every answer that is an error, as OpenAI's are."""

    error: ErrorDetail


class APIError(Exception):
    """An answer that is an error.

    Args:
        status: HTTP status.
        message: What happened and what to do next, for the client's eyes.
        param: The field of the request that is at fault.
        code: A short name of the error for programs.
        headers: Sent along.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        detail = ErrorDetail(message=self.message, type=kind, param=self.param, code=self.code)
        return ErrorBody(error=detail).model_dump()


def not_found(what: str, name: str, param: str | None = None) -> APIError:
    """Return the error about something that does not exist."""
    return APIError(404, f"there is no {what} {name!r}", param=param, code=f"{what.replace(' ', '_')}_not_found")


def invalid_value(place: Sequence[str | int], problem: str) -> APIError:
    """Return the error about a value that the field at ``place`` does not take."""
    param = ".".join(map(str, place)) or None
    return APIError(400, f"{param}: {problem}" if param else problem, param=param, code="invalid_value")


def too_many_values(limit: int) -> APIError:
    """Return the error about JSON that would take too much memory."""
    hint = "send long series as a file in base64"
    return APIError(413, f"the request has more than {limit:,} values; {hint}", code="request_too_large")


def busy(retry_after_seconds: int) -> APIError:
    """Return the error about too many requests."""
    return APIError(
        429,
        "the server is busy; send the request again later",
        code="server_busy",
        headers={"Retry-After": str(retry_after_seconds)},
    )


def deadline_exceeded(hint: str) -> APIError:
    """Return the error about an answer that took too long."""
    return APIError(408, f"the answer took too long; {hint}", code="deadline_exceeded")


def as_api_error(error: BaseException, retry_after_seconds: int = 1) -> APIError:
    """Return what a client is told about ``error``; what only the operator can fix goes to the log instead."""
    if isinstance(error, APIError):
        return error
    if isinstance(error, QueueFullError):
        return busy(retry_after_seconds)
    if isinstance(error, SessionBusyError):
        return APIError(409, error.message, param="session", code="session_busy")
    if isinstance(error, CheckpointError):
        logger.error("a saved session cannot be read", exc_info=error)
        message = "the saved session is damaged or another model's; begin a new one"
        return APIError(409, message, param="session", code="session_unreadable")
    if isinstance(error, EngineError):
        logger.error("an engine refuses a request", exc_info=error)
        return APIError(503, "the server is about to stop", code="shutting_down", headers={"Retry-After": "5"})
    # Subclasses other than DataError are about the run, its plugins or its files: none of the client's business.
    if type(error) is ModRWKVError or isinstance(error, DataError):
        text = error.message if error.hint is None else f"{error.message}; {error.hint}"
        return APIError(400, without_paths(text), code="invalid_input")
    logger.error("a request failed", exc_info=error)
    return APIError(500, _INTERNAL, code="internal_error")


def without_paths(text: str) -> str:
    """Return ``text`` without absolute paths."""
    return _PATH.sub("...", text)


def error_response(error: APIError) -> JSONResponse:
    """Return the response that tells ``error``."""
    return JSONResponse(error.body(), error.status, error.headers)


async def refuse(error: APIError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with ``error``, or close the websocket, before the application sees it."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1013 if error.status == 429 else 1008, "reason": ""})
    else:
        await error_response(error)(scope, receive, send)


def register_handlers(app: FastAPI, retry_after_seconds: int) -> None:
    """Make every failure of ``app`` an answer in OpenAI's shape."""

    async def failed(request: Request, error: Exception) -> JSONResponse:
        return error_response(as_api_error(error, retry_after_seconds))

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        message = f"{request.method} {request.url.path}: {HTTPStatus(error.status_code).phrase.lower()}"
        if error.status_code == 400:  # a body that is not JSON, or a form that is none
            message = f"{message}: {error.detail}"
        return error_response(APIError(error.status_code, message, headers=error.headers))

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["loc"] == ("body",) and isinstance(error.body, bytes):
            message = "the body is not announced as JSON; send it with Content-Type: application/json"
            return error_response(APIError(415, message, code="unsupported_media_type"))
        return error_response(invalid_value(first["loc"][1:], first["msg"]))

    for kind in (APIError, ModRWKVError, QueueFullError, Exception):
        app.add_exception_handler(kind, failed)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)
