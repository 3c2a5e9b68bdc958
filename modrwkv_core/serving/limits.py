"""Limits that hold while a request is read: the size of its body, and the number and size of all open requests."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modrwkv_core.serving.errors import APIError, busy, error_response
from modrwkv_core.serving.settings import Limits

__all__ = ["RequestLimits"]


class RequestLimits:
    """Middleware that refuses large bodies with 413, and what is more than the server can hold with 429.

    Probes and metrics are always answered.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits
        self._open = 0
        self._open_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its body as long as it is not too large."""
        if scope["type"] == "lifespan" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        if self._open >= self._limits.open_requests:
            await self._refuse(busy(self._limits.retry_after_seconds), scope, receive, send)
            return
        self._open += 1
        try:
            if scope["type"] == "websocket":
                await self._app(scope, receive, send)
            else:
                await self._limited(scope, receive, send)
        finally:
            self._open -= 1

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._limits.body_bytes
        too_large = APIError(413, f"the request has more than {limit:,} bytes", code="request_too_large")
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdecimal() or int(announced) > limit:
            await error_response(too_large)(scope, receive, send)
            return
        received = 0
        refusal: APIError | None = None
        refused = False

        async def counted() -> Message:
            nonlocal received, refusal
            message = await receive()
            size = len(message.get("body", b""))
            received += size
            self._open_bytes += size
            if received > limit:
                refusal = too_large
            elif self._open_bytes > self._limits.open_bytes:
                refusal = busy(self._limits.retry_after_seconds)
            if refusal is not None:
                raise refusal
            return message

        async def replaced(message: Message) -> None:
            nonlocal refused
            # The application takes the body for one that it cannot read, and would say so.
            if refusal is not None and message["type"] == "http.response.start":
                refused = True
                await error_response(refusal)(scope, receive, send)
            elif not refused:
                await send(message)

        try:
            await self._app(scope, counted, replaced)
        finally:
            self._open_bytes -= received

    async def _refuse(self, error: APIError, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1013, "reason": error.message})
        else:
            await error_response(error)(scope, receive, send)
