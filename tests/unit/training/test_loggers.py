"""Metrics survive a kill and damage: a resumed run goes on where its checkpoint stood."""

import json
from pathlib import Path

import pytest

from modrwkv_core.training.loggers import METRICS, append_metrics, metrics_size, read_metrics, truncate_metrics


def test_truncation_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2):
        append_metrics(tmp_path, step, {"loss": float(step)})
    size = metrics_size(tmp_path)
    append_metrics(tmp_path, 2, {"valid/lm": 1.5})
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 3, "lo')
    truncate_metrics(tmp_path, size)
    append_metrics(tmp_path, 3, {"loss": 30.0})
    assert [line["loss"] for line in read_metrics(tmp_path)] == [1.0, 2.0, 30.0]


def test_no_metrics_yet(tmp_path: Path) -> None:
    truncate_metrics(tmp_path, 0)
    assert read_metrics(tmp_path) == []
    assert metrics_size(tmp_path) == 0


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"step": 2, "lo',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"step": null, "loss": 1.0}',
        b'{"step": "two", "loss": 1.0}',
        b'{"loss": 1.0}',
        b'{"step": 2, "loss": {"lm": 1.0}}',
        b"2",
    ],
)
def test_damaged_lines_are_left_out_with_a_warning(tmp_path: Path, damaged: bytes) -> None:
    good = [json.dumps({"step": step, "loss": float(step)}).encode() for step in (1, 3)]
    (tmp_path / METRICS).write_bytes(b"\r\n".join([good[0], damaged, b"", good[1]]))
    with pytest.warns(UserWarning, match="1 damaged lines are left out"):
        assert [line["step"] for line in read_metrics(tmp_path)] == [1, 3]
