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


@pytest.mark.parametrize(("commas", "status"), [(9, 200), (10, 413)])
def test_a_body_of_more_values_than_are_parsed_is_refused(commas: int, status: int) -> None:
    chunks = [chunk(b"[1,2,3,", True), chunk(b"1," * (commas - 3), True), chunk(b"4]", False)]
    start, body = anyio.run(answer, limited(reading, json_values=9), POST, *chunks)
    assert start["status"] == status
    assert (b"more than 9 values" in body["body"]) == (status == 413)


@pytest.mark.parametrize("key", ["text", "bytes"])
def test_messages_of_websockets_are_counted_until_the_next_one(key: str) -> None:
    content: Any = {"text": "abcd", "bytes": b"abcd"}[key]
    message = {"type": "websocket.receive", key: content}
    heard: list[Any] = []

    async def listen(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await reading(scope, receive, send)
            return
        while not heard or heard[-1]["type"] != "websocket.disconnect":
            heard.append(await receive())

    app = limited(listen, open_bytes=4)
    end = {"type": "websocket.disconnect", "code": 1000}
    assert anyio.run(answer, app, SOCKET, message, message, end) == []
    assert heard == [message, message, end]
    heard.clear()
    larger = {"type": "websocket.receive", key: content + content[:1]}
    [closed] = anyio.run(answer, app, SOCKET, larger, message)
    assert (closed["type"], closed["code"]) == ("websocket.close", 1013)
    assert [each["type"] for each in heard] == ["websocket.disconnect"]
    start, *_ = anyio.run(answer, app, POST, chunk(b"abcd", False))  # nothing of the messages is left
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
