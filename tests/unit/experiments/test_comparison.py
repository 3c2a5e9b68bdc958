"""The comparison of trials: means, intervals, the order, and what each file holds."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from modrwkv_core.errors import DataError
from modrwkv_core.experiments.comparison import Comparison, interval
from modrwkv_core.experiments.config import Sweep
from modrwkv_core.experiments.job import Outcome
from modrwkv_core.experiments.objective import Objective
from modrwkv_core.experiments.report import write_sweep_report
from modrwkv_core.experiments.study import Trial

COMPRESSORS = [{"type": "none"}, {"type": "conv1d", "kernel": 3}]


def compare(direction: str = "maximize", **parameters: Any) -> Comparison:
    content = {"manifest": "m.yaml", "parameters": parameters or {"compressor": COMPRESSORS}}
    sweep = Sweep.model_validate(content | {"objective": "vqa/exact_match", "method": "random", "trials": 4})
    return Comparison("demo", Objective("vqa/exact_match", direction), sweep, (0, 1, 2))  # type: ignore[arg-type]


def outcomes(*values: float, error: str | None = None) -> dict[int, Outcome]:
    found = {
        seed: Outcome({"vqa/exact_match": value, "loss/lm": 1.0, "valid/lm": 2.0 * value, "lr": 0.1}, None)
        for seed, value in enumerate(values)
    }
    return found | ({len(values): Outcome({}, error)} if error else {})


def trial(number: int, point: Mapping[str, Any]) -> Trial:
    return Trial(number, point, is_finished=False)


@pytest.fixture
def comparison() -> Comparison:
    found = compare()
    found.add(trial(0, {"compressor": COMPRESSORS[0]}), outcomes(0.5, 0.5, 0.5))
    found.add(trial(1, {"compressor": COMPRESSORS[1]}), outcomes(0.6, 0.7, 0.8))
    found.add(trial(2, {"compressor": COMPRESSORS[1]}), outcomes(0.9, error="disk | full"))
    found.add(trial(3, {"compressor": COMPRESSORS[0]}), outcomes(0.9, math.nan, 0.9))
    return found


def test_the_interval_is_students() -> None:
    # Of tables: the 97.5 % quantile of t is 4.3027 with two degrees of freedom, and 12.706 with one.
    assert interval([1.0, 2.0, 3.0]) == pytest.approx(4.3027 / math.sqrt(3), rel=1e-4)
    assert interval([0.0, 2.0]) == pytest.approx(12.706 * math.sqrt(2) / math.sqrt(2), rel=1e-4)
    assert interval([1.0]) is None


def test_trials_stand_best_first_and_failed_ones_last(comparison: Comparison) -> None:
    assert [row.number for row in comparison.ranked] == [1, 0, 2, 3]
    low = compare("minimize")
    low.rows = comparison.rows
    assert [row.number for row in low.ranked] == [0, 1, 2, 3]
    assert comparison.markdown().splitlines() == [
        "| trial | compressor            | vqa/exact_match | valid/lm  |",
        "|-------|-----------------------|-----------------|-----------|",
        "| 1     | type conv1d, kernel 3 | 0.7 ± 0.25      | 1.4 ± 0.5 |",
        "| 0     | type none             | 0.5 ± 0         | 1 ± 0     |",
        "| 2     | type conv1d, kernel 3 | failed          | 1.8       |",
        "| 3     | type none             | failed          | nan ± nan |",
    ]


def test_the_files_hold_the_trials(comparison: Comparison, tmp_path: Path) -> None:
    comparison.write(tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    assert text.startswith(f"# demo\n\n{comparison.markdown()}\n\nMean over 3 seeds; a high vqa/exact_match is good.")
    assert "- trial 2: seed 1: disk | full" in text
    assert "- trial 3: seed 1: vqa/exact_match is nan" in text
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert [(one["trial"], one["mean"]) for one in found["trials"]] == [
        (1, pytest.approx(0.7)),
        (0, 0.5),
        (2, None),
        (3, None),
    ]
    assert found["trials"][0]["parameters"] == {"compressor": COMPRESSORS[1]}
    assert found["trials"][0]["half_width"] == pytest.approx(4.3027 * 0.1 / math.sqrt(3), rel=1e-4)
    assert found["trials"][3]["seeds"]["1"]["vqa/exact_match"] is None
    with (tmp_path / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["trial"], row["seed"], row["vqa/exact_match"]) for row in rows[:3]] == [
        ("1", "0", "0.6"),
        ("1", "1", "0.7"),
        ("1", "2", "0.8"),
    ]
    assert len(rows) == 12
    assert rows[7]["error"] == "seed 1: disk | full"


class Page(HTMLParser):
    """The words, images and links of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.alts: list[str | None] = []
        self.links: list[str | None] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        if tag == "img":
            self.alts.append(named["alt"])
        if tag == "a":
            self.links.append(named["href"])

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())


def test_the_page_shows_table_plots_and_links(comparison: Comparison, tmp_path: Path) -> None:
    there = tmp_path / "trial-001" / "seed-2"
    there.mkdir(parents=True)
    (there / "report.html").write_text("a report")
    page = Page(write_sweep_report(comparison, tmp_path))
    assert page.links == ["trial-001/seed-2/report.html"]
    assert page.alts == ["vqa/exact_match of 2 trials over compressor; the table has the numbers"]
    for words in ("0.7 ± 0.25", "Failed trials", "trial 2", "seed 1: disk | full", "higher is better"):
        assert any(words in text for text in page.words), words


@pytest.mark.parametrize("log", [False, True])
def test_ranges_and_sweeps_without_a_complete_trial_are_drawn(tmp_path: Path, log: bool) -> None:
    comparison = compare(lr={"low": 1e-4, "high": 1e-2, "log": log, **({} if log else {"step": 1e-3})})
    page = Page(write_sweep_report(comparison, tmp_path))
    assert page.alts == []
    comparison.add(trial(0, {"lr": 1e-3}), outcomes(0.5))
    assert len(Page(write_sweep_report(comparison, tmp_path)).alts) == 1


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    comparison = compare(**{hostile: [hostile]})
    comparison.add(trial(0, {hostile: hostile}), {0: Outcome({}, hostile)})
    page = Page(write_sweep_report(comparison, tmp_path))
    assert "script" not in page.tags


def test_a_missing_objective_names_what_there_is() -> None:
    with pytest.raises(DataError, match="the run has no score 'loss/lm'") as error:
        Objective("loss/lm", "minimize").of({"loss/tones": 1.0})
    assert error.value.hint == "set `objective` to one of loss/tones"
