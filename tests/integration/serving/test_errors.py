"""Errors have OpenAI's shape and the right status, and tell nothing of the machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from modrwkv_core.inference.engine_settings import EngineSettings
from modrwkv_core.serving.settings import Limits, ServeSettings

PATH = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("path", "body", "status", "part"),
    [
        ("/v1/chat/completions", {"model": "other", "messages": HELLO}, 404, "no model 'other'"),
        ("/v1/chat/completions", {"model": "tiny", "messages": []}, 400, "messages"),
        ("/v1/chat/completions", {"model": "tiny", "messages": HELLO, "temperature": 9}, 400, "temperature"),
        ("/v1/chat/completions", {"model": "tiny", "messages": HELLO, "wrong": 1}, 400, "wrong"),
        ("/v1/chat/completions", {"model": "tiny", "messages": HELLO, "max_tokens": 10**6}, 400, "limit"),
        ("/v1/chat/completions", {"model": "tiny", "messages": HELLO, "n": 1000}, 400, "limit"),
        ("/v1/chat/completions", {"model": "tiny", "messages": HELLO, "stop": ""}, 400, "stop"),
        ("/v1/chat/completions", {"model": "tiny", "messages": HELLO, "tool_choice": "required"}, 400, "tool_choice"),
        (
            "/v1/chat/completions",
            {"model": "tiny", "messages": [{"role": "assistant", "content": "Hello"}]},
            400,
            "the last turn is not the user's",
        ),
        (
            "/v1/chat/completions",
            {
                "model": "tiny",
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}
                ],
            },
            400,
            "fetches nothing",
        ),
        ("/v1/completions", {"model": "tiny", "prompt": ""}, 400, "prompt"),
        (
            "/v1/responses",
            {"model": "tiny", "input": "Hi", "previous_response_id": "x"},
            404,
            "no previous response 'x'",
        ),
        ("/v1/forecast", {"model": "tiny", "values": [1, 2], "horizon": 10**6}, 400, "limit"),
        ("/v1/forecast", {"model": "tiny", "horizon": 1}, 400, "values"),
        ("/v1/forecast", {"model": "tiny", "values": list(range(64)), "horizon": 1, "head": "lm"}, 400, "lm"),
        ("/v1/nothing", {}, 404, "not found"),
        ("/v1/models", {}, 405, "method not allowed"),
    ],
)
def test_what_is_wrong_is_said(server: Any, path: str, body: Any, status: int, part: str) -> None:
    response = server.post(path, body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert part in error["message"]
    assert "/work" not in response.text
    assert "Traceback" not in response.text


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'"text"', b"null", b'{"model": "\\ud800"}'])
def test_what_is_no_json_is_refused(server: Any, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = httpx.post(f"{server.url}/v1/chat/completions", content=body, headers=headers, timeout=60)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_what_any_page_may_post_is_not_read_as_json(server: Any, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    content = json.dumps({"model": "tiny"}).encode()
    response = httpx.post(f"{server.url}/v1/sessions", content=content, headers=headers, timeout=60)
    assert response.status_code == 415
    assert "application/json" in response.json()["error"]["message"]


DEEP = '{"a":' * 5_000 + "1" + "}" * 5_000
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "@"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": "@"}}
ASKED = {"model": "tiny", "max_tokens": 1, "messages": HELLO}


@pytest.mark.parametrize(
    ("path", "body", "part"),
    [
        (PATH, {**ASKED, "messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]}]}, json.dumps(DEEP)),
        (PATH, {**ASKED, "messages": [*HELLO, {"role": "assistant", "tool_calls": [CALL]}]}, '"\\"\\\\ud800\\""'),
        (PATH, {**ASKED, "tools": [TOOL]}, DEEP),
        (PATH, {**ASKED, "tools": [TOOL]}, '{"a": "\\ud800"}'),
        (PATH, {**ASKED, "tools": [TOOL]}, '{"\\udfff": 1}'),
        (PATH, {**ASKED, "messages": [{"role": "user", "content": "@"}]}, '"\\ud800"'),
        (PATH, {**ASKED, "@": 1}, '"\\ud800"'),
        ("/v1/completions", {"model": "tiny", "prompt": "@"}, '"\\udc00\\ud800"'),
        (
            "/v1/responses",
            {"model": "tiny", "input": "Hi", "tools": [{"type": "function", "name": "f"}], "user": "@"},
            DEEP,
        ),
        (
            "/v1/responses",
            {"model": "tiny", "input": "Hi", "tools": [{"type": "function", "name": "f", "parameters": "@"}]},
            '{"a": 1e999}',
        ),
    ],
)
def test_json_that_fails_further_on_is_refused(server: Any, path: str, body: Any, part: str) -> None:
    content = json.dumps(body).replace('"@"', part)
    headers = {"Content-Type": "application/json"}
    response = httpx.post(f"{server.url}{path}", content=content, headers=headers, timeout=60)
    assert response.status_code == 400, response.text
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_tools_of_a_depth_that_is_read_are_answered(server: Any) -> None:
    for depth in (20, 190):
        content = json.dumps({**ASKED, "tools": [TOOL]}).replace('"@"', '{"a":' * depth + "1" + "}" * depth)
        headers = {"Content-Type": "application/json"}
        response = httpx.post(f"{server.url}{PATH}", content=content, headers=headers, timeout=60)
        assert response.status_code == 200, response.text


def test_the_clients_errors_are_openais(server: Any) -> None:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match="no model"):
            client.chat.completions.create(model="other", messages=HELLO)  # type: ignore[arg-type]
        with pytest.raises(openai.BadRequestError, match="temperature"):
            client.chat.completions.create(model="tiny", messages=HELLO, temperature=5)  # type: ignore[arg-type]


def test_keys_are_asked_for(serve: Callable[..., Any]) -> None:
    with serve(ServeSettings(api_keys=("alpha", "beta"))) as server:
        assert server.get("/healthz").status_code == 200
        for headers in ({}, {"Authorization": "Bearer gamma"}, {"Authorization": "Basic alpha"}):
            response = server.get("/v1/models", headers=headers)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
        for key in ("alpha", "beta"):
            assert server.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        assert server.get("/metrics").status_code == 401
        address = server.url.replace("http", "ws") + "/v1/realtime?model=tiny"
        with pytest.raises(InvalidStatus, match="403"), connect(address):
            pass
        with connect(address, subprotocols=["realtime", "openai-insecure-api-key.beta"]) as socket:  # type: ignore[list-item]
            assert json.loads(socket.recv())["type"] == "session.created"


def test_large_bodies_are_refused_announced_or_not(serve: Callable[..., Any]) -> None:
    with serve(ServeSettings(limits=Limits(body_bytes=1000))) as server:
        body = b"x" * 1001
        for content in (body, iter([body[:600], body[600:]])):
            response = httpx.post(f"{server.url}/v1/chat/completions", content=content)
            assert response.status_code == 413
            assert response.json()["error"]["code"] == "request_too_large"


def test_bodies_that_are_too_much_together_are_put_off(serve: Callable[..., Any]) -> None:
    with serve(ServeSettings(limits=Limits(body_bytes=10_000, open_bytes=1_000))) as server:
        for _ in range(2):  # what was refused is not counted forever
            response = httpx.post(f"{server.url}{PATH}", content=b"x" * 2_000)
            assert response.status_code == 429
            assert response.headers["Retry-After"] == "1"
        assert server.post(PATH, {"model": "tiny", "messages": HELLO, "max_tokens": 1}).status_code == 200


def test_a_full_queue_says_when_to_come_again(serve: Callable[..., Any]) -> None:
    limits = Limits(tokens=200_000, retry_after_seconds=3)
    with serve(ServeSettings(limits=limits), EngineSettings(slots=1, queue=1)) as server:
        # One answers and one waits, both for as long as they are let.
        endless = {"model": "tiny", "messages": HELLO, "stream": True, "logit_bias": {"1": -100, "0": -100}}
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=endless, timeout=120) as running:
            assert next(running.iter_lines())
            response = server.post("/v1/chat/completions", {**endless, "stream": False, "n": 2})
            assert response.status_code == 429
            assert response.headers["Retry-After"] == "3"
            assert response.json()["error"]["type"] == "rate_limit_error"


def test_a_stream_is_finished_when_the_server_stops(serve: Callable[..., Any]) -> None:
    body = {"model": "tiny", "messages": HELLO, "stream": True, "max_tokens": 300, "logit_bias": {"1": -100}}
    with serve(ServeSettings()) as server, server.stream("/v1/chat/completions", body) as lines:
        next(lines)
        server.stop()
        assert [line for line in lines if line][-1] == "data: [DONE]"
        with pytest.raises(httpx.ConnectError):
            server.get("/healthz")


def test_a_client_that_leaves_at_random_leaves_nothing_behind(serve: Callable[..., Any]) -> None:
    generator = np.random.default_rng(0)
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 4096, "logit_bias": {"1": -100}}

    def leave(patience: float, stream: bool) -> None:
        try:
            timeout = httpx.Timeout(60, read=patience)
            with httpx.stream("POST", f"{server.url}{PATH}", json={**body, "stream": stream}, timeout=timeout) as got:
                time.sleep(patience)
                got.close()
        except httpx.ReadTimeout:
            pass

    with serve(ServeSettings(), EngineSettings(slots=4, queue=64)) as server:
        clients = [
            threading.Thread(target=leave, args=(generator.uniform(0.01, 0.5), bool(generator.integers(2))))
            for _ in range(40)
        ]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        server.wait_until_idle()
        assert server.engine.stats().free_slots == 4
        assert server.post(PATH, {**body, "max_tokens": 2}).status_code == 200
