"""Conversations whose past the server keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.sessions import SessionStore
from modrwkv_core.serving.settings import ServeSettings

SETTINGS = {"model": "tiny", "temperature": 0, "max_tokens": 6}


def begin(server: Any) -> str:
    response = server.post("/v1/sessions", {"model": "tiny"})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def ask(server: Any, session: str, question: str) -> str:
    messages = [{"role": "user", "content": question}]
    response = server.post("/v1/chat/completions", {**SETTINGS, "session": session, "messages": messages})
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["message"]["content"])


def answers(server: Any, session: str) -> int:
    return int(server.get(f"/v1/sessions/{session}").json()["answers"])


def test_the_past_is_read_and_undo_and_fork_go_back_to_it(server: Any) -> None:
    session = begin(server)
    first = ask(server, session, "Say yes.")
    second = ask(server, session, "And no?")
    assert first == ask(server, begin(server), "Say yes.")
    assert second != ask(server, begin(server), "And no?"), "the past matters"
    fork = server.post(f"/v1/sessions/{session}/fork", None).json()["id"]
    assert server.post(f"/v1/sessions/{session}/undo", None).json()["answers"] == 1
    assert ask(server, session, "And no?") == second
    assert answers(server, fork) == 2
    assert server.post(f"/v1/sessions/{fork}/undo", None).status_code == 200
    assert ask(server, fork, "And no?") == second
    assert server.post(f"/v1/sessions/{begin(server)}/undo", None).status_code == 400


def test_a_deleted_session_and_a_guessed_one_are_not_there(server: Any) -> None:
    session = begin(server)
    response = server.delete(f"/v1/sessions/{session}")
    assert response.json() == {"id": session, "object": "session.deleted", "deleted": True}
    for gone in (session, "sess_guessed"):
        assert server.get(f"/v1/sessions/{gone}").status_code == 404
        messages = [{"role": "user", "content": "Hello"}]
        body = {**SETTINGS, "session": gone, "messages": messages}
        assert server.post("/v1/chat/completions", body).status_code == 404


def test_an_answer_that_was_stopped_is_past_and_can_be_undone(serve: Callable[..., Any]) -> None:
    with serve(ServeSettings()) as server:
        stop_an_answer(server)


def stop_an_answer(server: Any) -> None:
    session = begin(server)
    body = {**SETTINGS, "session": session, "max_tokens": 4096, "stream": True, "logit_bias": {"1": -100}}
    with server.stream("/v1/chat/completions", {**body, "messages": [{"role": "user", "content": "Hi"}]}) as lines:
        next(lines)
        busy = server.post(
            "/v1/chat/completions", {**SETTINGS, "session": session, "messages": [{"role": "user", "content": "Hi"}]}
        )
        assert busy.status_code == 409
    server.wait_until_idle()
    assert answers(server, session) == 1
    assert server.post(f"/v1/sessions/{session}/undo", None).json()["answers"] == 0
    assert ask(server, session, "Say yes.") == ask(server, begin(server), "Say yes.")


@pytest.mark.parametrize("question", [{"n": 2}, {"model": "other"}])
def test_a_session_takes_one_answer_of_its_own_model(server: Any, question: Any) -> None:
    body = {**SETTINGS, "session": begin(server), "messages": [{"role": "user", "content": "Hi"}], **question}
    assert server.post("/v1/chat/completions", body).status_code in (400, 404)


def test_conversations_are_looked_up_away_from_the_event_loop(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    places = []
    for name in ("get", "submit"):
        method = getattr(SessionStore, name)

        def noticed(*args: Any, method: Any = method, **options: Any) -> Any:
            try:
                asyncio.get_running_loop()
                places.append(f"{method.__name__} on the event loop")
            except RuntimeError:
                places.append("a thread")
            return method(*args, **options)

        monkeypatch.setattr(SessionStore, name, noticed)
    ask(server, begin(server), "Say yes.")
    assert set(places) == {"a thread"}


def test_engines_are_closed_before_what_keeps_their_conversations(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    for kind in (Engine, SessionStore):
        close = kind.close

        def noticed(one: Any, close: Any = close) -> None:
            close(one)
            closed.append(type(one))

        monkeypatch.setattr(kind, "close", noticed)
    with serve(ServeSettings()):
        pass
    assert closed == [Engine, SessionStore]
