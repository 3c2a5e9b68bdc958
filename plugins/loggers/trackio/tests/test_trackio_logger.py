from __future__ import annotations

from pathlib import Path

import pytest

from modrwkv_core.testing import LoggerContract


class TestTrackio(LoggerContract):
    plugin = "modrwkv_trackio.plugin"

    @pytest.fixture(autouse=True)
    def local(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import trackio.sqlite_storage

        monkeypatch.setenv("TRACKIO_PROJECT", "modrwkv")
        # Trackio reads TRACKIO_DIR when it is imported.
        monkeypatch.setattr(trackio.sqlite_storage, "TRACKIO_DIR", tmp_path / "trackio")

    def test_the_run_holds_config_metrics_and_scores(self, tmp_path: Path) -> None:
        from trackio.sqlite_storage import SQLiteStorage

        (tmp_path / "mine").mkdir()
        self.run(tmp_path / "mine")
        rows = SQLiteStorage.get_logs("modrwkv", "mine")
        assert [
            (row["step"], row.get("loss/lm"), row.get("valid/lm"), row.get("evaluation/tones/accuracy")) for row in rows
        ] == [(1, 2.5, None, None), (2, 2.5, None, None), (2, None, 2.0, None), (2, None, None, 0.5)]
        assert rows[0]["phase"] == "align"
        assert SQLiteStorage.get_run_config("modrwkv", "mine")["phases"][0]["lr"] == 1e-3

    def test_nothing_is_written_without_the_variable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TRACKIO_PROJECT")
        self.run(tmp_path / "mine")
        assert not (tmp_path / "trackio").exists()
