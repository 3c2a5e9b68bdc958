"""What a checkpoint says about itself is checked before anything relies on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import CheckpointError
from modrwkv_core.model.train_state import TRAIN_STATE, AccumulatedMetrics, RngState, SourceFingerprint, TrainState

STATE = TrainState(
    step=12,
    phase="align",
    phase_step=5,
    phase_done=True,
    validated=False,
    rng_states=(RngState(cpu="00ff", cuda="01"),),
    metrics_size=120,
    accumulated=AccumulatedMetrics(sums={"loss": 0.1}, counts={"loss": 1}, tokens=3, seconds=0.25),
    skipped_records=1,
    data=(SourceFingerprint(source="chat", records=3, sample="ab"),),
    files={"backbone.safetensors": "cd"},
)


def write(folder: Path, content: str) -> Path:
    checkpoint = folder / "step-00000012"
    checkpoint.mkdir()
    (checkpoint / TRAIN_STATE).write_text(content)
    return checkpoint


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert TrainState.read(write(tmp_path, STATE.model_dump_json())) == STATE


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1e9))
def test_sums_come_back_bit_for_bit(loss: float, seconds: float) -> None:
    sums = AccumulatedMetrics(sums={"loss": loss}, counts={"loss": 1}, seconds=seconds)
    assert AccumulatedMetrics.model_validate_json(sums.model_dump_json()) == sums


@pytest.mark.parametrize(
    "change",
    [
        {"step": "12"},
        {"step": 12.5},
        {"step": None},
        {"step": -1},
        {"step": 13},
        {"phase": None},
        {"phase_step": 13},
        {"phase_step": 10**30},
        {"phase_done": "no"},
        {"phase_done": None},
        {"phase_done": False, "validated": True},
        {"rng_states": [{"cpu": ""}]},
        {"rng_states": [{"cpu": "zz"}]},
        {"rng_states": [{"cpu": "0"}]},
        {"rng_states": []},
        {"metrics_size": -5},
        {"accumulated": {"sums": {"loss": 1.0}, "counts": {}}},
        {"data": [{"source": "chat"}]},
        {"files": {"backbone.safetensors": 3}},
        {"no_such_key": 1},
    ],
)
def test_wrong_types_and_ranges_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    checkpoint = write(tmp_path, json.dumps(json.loads(STATE.model_dump_json()) | change))
    with pytest.raises(CheckpointError, match=r"train_state\.json.*\n.*remove .*step-00000012"):
        TrainState.read(checkpoint)


@pytest.mark.parametrize("content", ["", "[]", "nonsense", "[" * 100_000, "\0"])
def test_other_content_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(CheckpointError, match="is damaged"):
        TrainState.read(write(tmp_path, content))


def test_a_missing_state_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        TrainState.read(tmp_path / "step-00000012")
