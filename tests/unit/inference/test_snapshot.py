"""A conversation's state as a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modrwkv_core.errors import CheckpointError
from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.session import Session
from modrwkv_core.inference.snapshot import Snapshot
from modrwkv_core.interfaces.record import Text, Turn

PATIENCE = 120


def user(text: str) -> tuple[Turn]:
    return (Turn("user", (Text(text),)),)


def snapshot(session: Session) -> Snapshot:
    with Engine(session) as engine:
        generation = engine.submit(Request(user("Say yes."), max_tokens=4, keep_state=True))
        generation.result(PATIENCE)
        return generation.snapshot()


def test_a_saved_snapshot_goes_on_as_the_original(session: Session, tmp_path: Path) -> None:
    original = snapshot(session)
    original.save(tmp_path / "talk.safetensors")
    loaded = session.load_snapshot(tmp_path / "talk.safetensors")
    assert (loaded.tokens_read, loaded.pending) == (original.tokens_read, original.pending)
    with Engine(session) as engine:
        answers = [
            engine.submit(Request(user("Again?"), max_tokens=9, state=state)).result(PATIENCE).tokens
            for state in (original, loaded)
        ]
    assert answers[0] == answers[1]


def test_another_models_state_is_refused_by_name(session: Session, tmp_path: Path) -> None:
    saved = snapshot(session)
    saved.save(tmp_path / "talk.safetensors")
    with torch.no_grad():
        next(session.model.backbone.parameters()).add_(1.0)
    del session.model_digest
    with pytest.raises(CheckpointError, match=r"belongs to the model tiny \(\w+\), not to tiny"):
        session.load_snapshot(tmp_path / "talk.safetensors")
    with Engine(session) as engine, pytest.raises(CheckpointError, match="belongs to the model"):
        engine.submit(Request(user("Again?"), state=saved))


def test_files_that_are_no_snapshots_are_refused(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "talk.safetensors"
    with pytest.raises(CheckpointError, match="there is no snapshot"):
        session.load_snapshot(path)
    session.model.backbone.init_state(1).save(path)
    with pytest.raises(CheckpointError, match="is not a snapshot"):
        session.load_snapshot(path)
    snapshot(session).save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="cannot be read"):
        session.load_snapshot(path)
