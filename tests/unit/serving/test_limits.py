"""Neither slow bodies nor open websockets keep others out."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from modrwkv_core.serving.errors import APIError
from modrwkv_core.serving.limits import RequestLimits
from modrwkv_core.serving.media_budget import MediaBudget
from modrwkv_core.serving.settings import Limits

POST = {"type": "http", "method": "POST", "path": "/v1/x", "headers": []}
SOCKET = {"type": "websocket", "path": "/v1/realtime", "headers": []}


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body, as an application that has an answer to everything."""
    try:
        text = str(await Request(scope, receive).body())
    except APIError:
        text = "no body"
    await PlainTextResponse(text)(scope, receive, send)


async def answer(app: Any, scope: Any, *chunks: Any) -> list[Any]:
    """Return what is sent to a client that sends these messages and then nothing."""
    waiting, sent = list(chunks), []

    async def receive() -> Any:
        if not waiting:
            await anyio.sleep_forever()
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def limited(app: Any, **limits: Any) -> RequestLimits:
    return RequestLimits(app, chosen := Limits(**limits), MediaBudget(chosen))


def chunk(body: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize("chunks", [[], [chunk(b"a", True)]])
def test_a_body_that_does_not_come_is_given_up(chunks: list[Any]) -> None:
    start, body = anyio.run(answer, limited(reading, body_seconds=0.01), POST, *chunks)
    assert start["status"] == 408
    assert b"request_too_slow" in body["body"]
    assert (b"connection", b"close") in start["headers"]


def test_an_answer_may_take_longer_than_its_body() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        with anyio.move_on_after(0.05):
            await receive()  # how an application learns that the client is gone
        await PlainTextResponse("done")(scope, receive, send)

    start, *_ = anyio.run(answer, limited(slow, body_seconds=0.01), POST, chunk(b"a", True), chunk(b"b", False))
    assert start["status"] == 200


def test_websockets_are_counted_apart() -> None:
    async def check() -> None:
        app = limited(open_until_cancelled, open_requests=1, realtime_sessions=2)
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(answer, app, SOCKET)
            await anyio.wait_all_tasks_blocked()
            [closed] = await answer(app, SOCKET, {"type": "websocket.connect"})
            assert closed == {"type": "websocket.close", "code": 1013, "reason": ""}
            start, *_ = await answer(app, POST, chunk(b"", False))
            assert start["status"] == 200
            tasks.cancel_scope.cancel()

    async def open_until_cancelled(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await anyio.sleep_forever()
        await reading(scope, receive, send)

    anyio.run(check)
