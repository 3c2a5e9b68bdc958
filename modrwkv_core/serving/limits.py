"""Limits that hold while a request is read: size, values and time of its body, number and size of all open requests."""

from __future__ import annotations

import asyncio
from collections import Counter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modrwkv_core.serving.errors import APIError, busy, error_response, refuse, too_many_values
from modrwkv_core.serving.media_budget import MediaBudget
from modrwkv_core.serving.settings import Limits

__all__ = ["RequestLimits"]


class RequestLimits:
    """Middleware that refuses large bodies with 413, slow ones with 408, and more than the server can hold with 429.

    Probes and metrics are always answered. Websockets have a number of their own, so that they close nobody else out.

    Args:
        app: The application.
        limits: Which hold.
        media: Counts the media of each request, as long as it is open.
    """

    def __init__(self, app: ASGIApp, limits: Limits, media: MediaBudget) -> None:
        self._app = app
        self._limits = limits
        self._media = media
        self._most = {"http": limits.open_requests, "websocket": limits.realtime_sessions}
        self._open = Counter[str]()
        self._open_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its body as long as it is not too large."""
        if scope["type"] == "lifespan" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        kind = scope["type"]
        if self._open[kind] >= self._most[kind]:
            await refuse(busy(self._limits.retry_after_seconds), scope, receive, send)
            return
        self._open[kind] += 1
        try:
            if kind == "websocket":
                await self._messages(scope, receive, send)
            else:
                with self._media.request():
                    await self._limited(scope, receive, send)
        finally:
            self._open[kind] -= 1

    async def _messages(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count each message until the next one is asked for; close the websocket that brings one too many."""
        held = 0

        async def counted() -> Message:
            nonlocal held
            self._open_bytes -= held
            held = 0
            message = await receive()
            held = len(message.get("bytes") or b"") + len(message.get("text") or "")
            self._open_bytes += held
            if self._open_bytes <= self._limits.open_bytes:
                return message
            await send({"type": "websocket.close", "code": 1013, "reason": "the server is busy"})
            return {"type": "websocket.disconnect", "code": 1013}

        try:
            await self._app(scope, counted, send)
        finally:
            self._open_bytes -= held

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._limits.body_bytes
        too_large = APIError(413, f"the request has more than {limit:,} bytes", code="request_too_large")
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdecimal() or int(announced) > limit:
            await error_response(too_large)(scope, receive, send)
            return
        received = values = 0
        is_complete = False
        refusal: APIError | None = None
        refused = False
        deadline = asyncio.get_running_loop().time() + self._limits.body_seconds

        async def counted() -> Message:
            nonlocal received, values, is_complete, refusal
            try:
                async with asyncio.timeout_at(None if is_complete else deadline):
                    message = await receive()
            except TimeoutError:
                refusal = _late(self._limits.body_seconds)
                raise refusal from None
            is_complete = not message.get("more_body", False)
            body = message.get("body", b"")
            size = len(body)
            received += size
            values += body.count(b",")
            self._open_bytes += size
            if received > limit:
                refusal = too_large
            elif values > self._limits.json_values:
                refusal = too_many_values(self._limits.json_values)
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


def _late(seconds: float) -> APIError:
    return APIError(
        408,
        f"the request has not come in {seconds:g} s",
        code="request_too_slow",
        headers={"Connection": "close"},  # else the rest is awaited
    )
