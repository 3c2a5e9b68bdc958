"""The table of metrics follows the lines: new columns, resumed runs, and text that needs quotes."""

from __future__ import annotations

import csv
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from modrwkv_core.training.csv_log import CSV, append_csv, write_csv
from modrwkv_core.training.loggers import append_metrics, read_metrics, truncate_metrics

WORDS = st.sampled_from(["loss", "loss/lm", "a,b", 'a "b"', "a\nb", "é", " "])
LINES = st.lists(st.dictionaries(WORDS, st.floats(-1e9, 1e9) | WORDS, max_size=3), max_size=5)


def log(run: Path, step: int, **metrics: float | str) -> None:
    append_metrics(run, step, metrics)
    append_csv(run, step, metrics)


def table(run: Path) -> list[dict[str, str]]:
    with (run / CSV).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_new_metric_adds_a_column(tmp_path: Path) -> None:
    log(tmp_path, 1, phase="align", loss=2.0)
    log(tmp_path, 2, phase="align", loss=1.5)
    log(tmp_path, 2, phase="align", valid=1.25)
    log(tmp_path, 3, loss=1.0)
    assert table(tmp_path) == [
        {"step": "1", "phase": "align", "loss": "2.0", "valid": ""},
        {"step": "2", "phase": "align", "loss": "1.5", "valid": ""},
        {"step": "2", "phase": "align", "loss": "", "valid": "1.25"},
        {"step": "3", "phase": "", "loss": "1.0", "valid": ""},
    ]


def test_a_resumed_run_drops_the_steps_that_it_repeats(tmp_path: Path) -> None:
    log(tmp_path, 1, loss=2.0)
    size = (tmp_path / "metrics.jsonl").stat().st_size
    log(tmp_path, 2, loss=1.0)
    with (tmp_path / CSV).open("a") as file:
        file.write("3,")
    truncate_metrics(tmp_path, size)
    write_csv(tmp_path)
    assert table(tmp_path) == [{"step": "1", "loss": "2.0"}]
    truncate_metrics(tmp_path, 0)
    write_csv(tmp_path)
    assert not (tmp_path / CSV).exists()


@settings(deadline=None, max_examples=40)
@given(lines=LINES)
def test_the_table_holds_what_was_logged(tmp_path_factory, lines) -> None:  # type: ignore[no-untyped-def]
    run = tmp_path_factory.mktemp("run")
    for step, metrics in enumerate(lines):
        append_metrics(run, step, metrics)
        append_csv(run, step, metrics)
    logged = [{name: str(value) for name, value in line.items()} for line in read_metrics(run)]
    found = table(run) if lines else []
    assert [{name: value for name, value in row.items() if value} for row in found] == [
        {name: value for name, value in line.items() if value} for line in logged
    ]
