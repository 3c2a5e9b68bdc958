"""A server without keys answers its own machine only."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest

from modrwkv_core.serving.app import create_app
from modrwkv_core.serving.settings import ServeSettings


def status(host: str | None, api_keys: tuple[str, ...] = (), **headers: str) -> int:
    """Return what a server at ``host`` answers a probe of these headers."""
    app = create_app({}, ServeSettings(api_keys=api_keys), host)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return await client.get("/healthz", headers=headers)

    return anyio.run(ask).status_code


@pytest.mark.parametrize("name", ["localhost:8000", "LOCALHOST", "127.0.0.1", "127.9.9.9:80", "[::1]:8000"])
def test_the_own_machine_is_answered(name: str) -> None:
    assert status("127.0.0.1", Host=name) == 200
    assert status("localhost", Host=name, Origin=f"http://{name}") == 200


@pytest.mark.parametrize(
    "name", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.0.0.1", "[::1", ""]
)
def test_other_names_of_the_machine_are_refused(name: str) -> None:
    assert status("127.0.0.1", Host=name) == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost.evil.example", "null", "file://", "x["])
def test_pages_of_others_are_refused(origin: str) -> None:
    assert status("127.0.0.1", Origin=origin) == 403


def test_with_keys_or_on_a_network_every_name_is_answered() -> None:
    for host, keys in (("127.0.0.1", ("key",)), ("0.0.0.0", ()), ("10.1.2.3", ()), (None, ())):
        assert status(host, keys, Host="model.example", Origin="https://page.example") == 200


def test_websockets_of_others_are_closed() -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/v1/realtime", "query_string": b"model=tiny", "subprotocols": []}
    headers = [(b"host", b"127.0.0.1:8000"), (b"origin", b"https://evil.example")]
    anyio.run(create_app({}, host="127.0.0.1"), {**scope, "headers": headers}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
