"""Whom a server answers that asks for no key and listens at a loopback address: what runs on the same machine.

Pages of any site may post to 127.0.0.1, and may let a name of their own resolve to it (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from modrwkv_core.serving.errors import APIError, refuse

__all__ = ["LocalHosts", "is_loopback"]


class LocalHosts:
    """Middleware that refuses requests to another host than this machine, and those from pages of other hosts.

    Args:
        app: The application.
        host: Another name of the machine.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._host = host.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or close the websocket, unless the request is local."""
        if scope["type"] == "lifespan" or self._is_local(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        error = APIError(
            403,
            "the server answers only requests to localhost, from its own pages; to open it, set MODRWKV_API_KEYS",
            code="host_not_allowed",
        )
        await refuse(error, scope, receive, send)

    def _is_local(self, headers: Headers) -> bool:
        hosts = [f"//{host}" for host in headers.getlist("host")]
        return bool(hosts) and all(map(self._names_this_machine, [*hosts, *headers.getlist("origin")]))

    def _names_this_machine(self, url: str) -> bool:
        try:
            name = urlsplit(url).hostname
        except ValueError:
            return False
        return name is not None and (name == self._host or is_loopback(name))


def is_loopback(host: str) -> bool:
    """Return whether only this machine is reached by the name or address ``host``."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
