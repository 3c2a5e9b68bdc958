"""Figures survive a kill: a cut line is dropped, repeated steps are replaced."""

from pathlib import Path

from modrwkv_core.training.loggers import METRICS, append_metrics, read_metrics, truncate_metrics


def test_a_line_cut_by_a_kill_is_dropped(tmp_path: Path) -> None:
    append_metrics(tmp_path, 1, {"loss": 2.0})
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 2.0}]


def test_truncation_keeps_what_the_checkpoint_has_seen(tmp_path: Path) -> None:
    for step in range(1, 5):
        append_metrics(tmp_path, step, {"loss": float(step)})
    truncate_metrics(tmp_path, 2)
    append_metrics(tmp_path, 3, {"loss": 30.0})
    assert [line["loss"] for line in read_metrics(tmp_path)] == [1.0, 2.0, 30.0]


def test_no_figures_yet(tmp_path: Path) -> None:
    truncate_metrics(tmp_path, 0)
    assert read_metrics(tmp_path) == []
