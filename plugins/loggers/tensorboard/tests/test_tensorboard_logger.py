from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from modrwkv_core.testing import LoggerContract


class TestTensorBoard(LoggerContract):
    plugin = "modrwkv_tensorboard.plugin"

    @pytest.fixture(autouse=True)
    def logs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "logs"))
        return tmp_path / "logs"

    def test_tensorboard_reads_the_metrics(self, tmp_path: Path, logs: Path) -> None:
        self.run(tmp_path / "mine")
        events = EventAccumulator(str(logs / "mine")).Reload()
        assert [(event.step, event.value) for event in events.Scalars("loss/lm")] == [(1, 2.5), (2, 2.5)]
        assert [(event.step, event.value) for event in events.Scalars("valid/lm")] == [(2, 2.0)]
        assert [(event.step, event.value) for event in events.Scalars("evaluation/tones/accuracy")] == [(2, 0.5)]
        assert "phase" not in events.Tags()["scalars"]

    def test_repeated_steps_replace_those_of_a_killed_run(self, tmp_path: Path, logs: Path) -> None:
        for values in ((3.0, 2.0, 1.0), (0.0, -1.0)):
            for step, value in enumerate(values, start=4 - len(values)):
                self.call("modrwkv_metrics", run=tmp_path / "mine", step=step, metrics={"loss": value})
            self.call("modrwkv_run_finished", run=tmp_path / "mine", manifest=None, error=None)
        events = EventAccumulator(str(logs / "mine")).Reload()
        assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 3.0), (2, 0.0), (3, -1.0)]

    def test_nothing_is_written_without_the_variable(
        self, tmp_path: Path, logs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("TENSORBOARD_LOGGING_DIR")
        self.run(tmp_path / "mine")
        assert not logs.exists()
        assert [path.name for path in (tmp_path / "mine").iterdir()] == ["checkpoints"]
