"""API keys: compared in constant time, as digests, so that neither their length nor their beginning leaks."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from modrwkv_core.serving.errors import APIError, refuse

__all__ = ["SUBPROTOCOL", "Authentication"]

SUBPROTOCOL: Final = "openai-insecure-api-key."
"""How a browser, which can set no headers of a websocket, sends its key: as a subprotocol of this prefix."""

_OPEN: Final = ("/healthz", "/readyz", "/ui")
"""What needs no key: probes, and the page, which asks for one."""


class Authentication:
    """Middleware that lets requests pass that bring one of ``keys``; without keys, everyone's."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or close the websocket, unless the key is known."""
        if scope["type"] == "lifespan" or not self._digests or _is_open(scope["path"]) or self._known(scope):
            await self._app(scope, receive, send)
        else:
            error = APIError(
                401,
                "the API key is missing or wrong; send it in the header Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
            await refuse(error, scope, receive, send)

    def _known(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        scheme, _, key = headers.get("authorization", "").partition(" ")
        sent = key.strip() if scheme.lower() == "bearer" else ""
        for protocol in scope.get("subprotocols", ()):
            if protocol.startswith(SUBPROTOCOL):
                sent = protocol.removeprefix(SUBPROTOCOL)
        digest = _digest(sent)
        # All are compared, so that the time does not tell which one it is.
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _is_open(path: str) -> bool:
    return path == "/" or any(path == place or path.startswith(f"{place}/") for place in _OPEN)
