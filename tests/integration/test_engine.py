"""Engines of trained runs: any backbone, and sessions that go on in another process's place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.engine_settings import EngineSettings
from modrwkv_core.inference.loading import load
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.sessions import SessionStore
from modrwkv_core.interfaces.record import Text, Turn
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.training.loop import train

PATIENCE = 120
TRANSFORMER = {
    "type": "transformer",
    "init": "scratch",
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "intermediate_size": 48,
}
QUESTIONS = ["Say no 2 times.", "Say yes 3 times, and slowly.", "x", "Say so."]


def user(text: str) -> tuple[Turn]:
    return (Turn("user", (Text(text),)),)


@pytest.mark.parametrize("sections", [{}, {"backbone": TRANSFORMER}], ids=["rwkv7", "transformer"])
def test_a_trained_run_answers_together_and_keeps_sessions(
    sections: dict[str, Any], tiny_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    train(load_manifest(tiny_manifest(**sections)), run, device="cpu", progress_bar=False, resume=False)
    session = load(run, device="cpu")
    expected = [session.generate(question, max_tokens=12) for question in QUESTIONS]
    requests = [Request(user(question), max_tokens=12) for question in QUESTIONS]
    assert [answer.text for answer in session.generate_batch(requests, EngineSettings(slots=3))] == expected

    with Engine(session) as engine, SessionStore(engine, tmp_path / "sessions") as store:
        talk = store.create()
        store.submit(Request(user(QUESTIONS[0]), max_tokens=6, session=talk.name)).result(PATIENCE)
        store.save(talk.name)
        fork = store.fork(talk.name)
        again = store.submit(Request(user("Again."), max_tokens=6, session=fork.name)).result(PATIENCE)
    anew = load(run, device="cpu")
    with Engine(anew) as engine, SessionStore(engine, tmp_path / "sessions") as store:
        resumed = store.submit(Request(user("Again."), max_tokens=6, session=talk.name)).result(PATIENCE)
    assert resumed.tokens == again.tokens
