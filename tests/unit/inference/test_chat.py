"""A conversation with one person, whose engine is busy meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modrwkv_core.errors import SessionBusyError
from modrwkv_core.inference.chat import Chat
from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.values import MediaItem

PATIENCE = 120


@pytest.fixture
def chat(session: Session) -> Iterator[Chat]:
    session.banned = session.banned.new_tensor([*session.banned.tolist(), *session.ends])
    with Engine(session) as engine:
        yield Chat(engine, max_tokens=10**9)


def test_an_answer_belongs_to_the_fork_in_which_it_was_asked_for(chat: Chat) -> None:
    generation = chat.ask("Say yes.")
    next(iter(generation))
    with pytest.raises(SessionBusyError):
        chat.ask("Say no.")
    chat.fork("other")
    generation.cancel()
    generation.result(PATIENCE)
    assert chat.tokens_read == 0
    chat.switch("main")
    assert chat.tokens_read > 0
    chat.undo()
    assert chat.tokens_read == 0


def test_a_forecast_is_made_between_the_steps_of_answers(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "wave.npy", np.sin(np.arange(48.0)))
    chat.attach("series", tmp_path / "wave.npy")
    forecast, threads = Session.forecast, []

    def noticed(self: Session, *arguments: Any) -> Any:
        threads.append(threading.current_thread().name)
        return forecast(self, *arguments)

    monkeypatch.setattr(Session, "forecast", noticed)
    assert len(chat.forecast(6).points) == 6
    assert threads == ["modrwkv-engine"]


class Divider(Processor[Any, Any]):
    """Processes a film part by part, when it is read."""

    def __call__(self, signal: Any) -> MediaItem:
        raise AssertionError("the film was processed as a whole")

    def parts(self, signal: Any) -> Iterator[MediaItem]:
        raise AssertionError("the film was processed before it was asked about")


def test_a_film_is_attached_without_being_processed(chat: Chat, tmp_path: Path) -> None:
    np.save(tmp_path / "film.npy", np.arange(48.0))
    preprocessors = chat._session.conversations.preprocessors
    series = preprocessors["series"]
    assert chat.attach("series", tmp_path / "film.npy") == 48 // 4 + 2
    preprocessors["series"] = replace(series, processor=Divider(series.encoder))
    assert chat.attach("series", tmp_path / "film.npy") is None
    assert len(chat.attached) == 2
