from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2

from modrwkv_core.testing import LoggerContract

BLOCK = 32768


def payloads(content: bytes) -> Iterator[bytes]:
    """Yield the records of a file in the format of LevelDB's logs, after wandb's header of 7 bytes."""
    position, begun = 7, b""
    while position + 7 <= len(content):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        begun += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield begun
            begun = b""


def records(folder: Path) -> list[wandb_internal_pb2.Record]:
    """Read what the offline runs of a folder would send."""
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    return [wandb_internal_pb2.Record.FromString(record) for file in files for record in payloads(file.read_bytes())]


class TestWandb(LoggerContract):
    plugin = "modrwkv_wandb.plugin"

    @pytest.fixture(autouse=True)
    def offline(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {"PROJECT": "modrwkv", "MODE": "offline", "SILENT": "true"}.items():
            monkeypatch.setenv(f"WANDB_{name}", value)
        for name in ("CONFIG_DIR", "CACHE_DIR", "DATA_DIR"):
            monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "wandb"))

    def call(self, hook: str, **arguments: Any) -> None:
        if hook in ("modrwkv_run_started", "modrwkv_evaluated"):
            time.sleep(1.0 - time.time() % 1.0)  # wandb names the folders of offline sessions by the second
        super().call(hook, **arguments)

    def test_the_run_holds_config_metrics_and_scores(self, tmp_path: Path) -> None:
        run = tmp_path / "mine"
        run.mkdir()
        self.run(run)
        sent = records(run)
        begun = [record.run for record in sent if record.WhichOneof("record_type") == "run"]
        assert {(one.project, one.display_name) for one in begun} == {("modrwkv", "mine")}
        assert {one.run_id for one in begun} == {(run / "wandb_id.txt").read_text().strip()}
        config = {item.key: json.loads(item.value_json) for one in begun for item in one.config.update}
        assert config["phases"][0]["lr"] == 1e-3
        rows = [
            {(item.key or item.nested_key[0]): json.loads(item.value_json) for item in record.history.item}
            for record in sent
            if record.WhichOneof("record_type") == "history"
        ]
        assert [(row["step"], row.get("loss/lm"), row.get("valid/lm")) for row in rows] == [
            (1, 2.5, None),
            (2, 2.5, None),
            (2, None, 2.0),
        ]
        summary = {
            (item.key or "/".join(item.nested_key)): json.loads(item.value_json)
            for record in sent
            if record.WhichOneof("record_type") == "summary"
            for item in record.summary.update
        }
        assert summary["evaluation/tones/accuracy"] == 0.5
        exits = [record.exit.exit_code for record in sent if record.WhichOneof("record_type") == "exit"]
        assert exits == [0, 0]

    def test_nothing_is_written_without_the_variable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("WANDB_PROJECT")
        self.run(tmp_path / "mine")
        assert [path.name for path in (tmp_path / "mine").iterdir()] == ["checkpoints"]
