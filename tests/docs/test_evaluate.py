"""The page on evaluation works as it says, and its table lists every metric of ours."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modrwkv_core.evaluation.predictions import read_predictions
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.registry import discover

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "evaluate.md"


@pytest.mark.slow
def test_a_reader_evaluates_and_compares(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(PAGE, tmp_path)
    found = read_predictions(tmp_path / "runs/long/predictions.jsonl")
    assert {task: len(samples) for task, samples in found.items()} == {"answers": 200, "choices": 200, "texts": 4}


def test_the_sections_for_published_data_are_valid(tmp_path: Path, blocks_of: Callable[[Path], list[Any]]) -> None:
    contents = {block.file: block.content for block in blocks_of(PAGE)}
    manifest, _, _ = contents["manifest.yaml"].partition("evaluation:")
    (tmp_path / "manifest.yaml").write_text(manifest + contents["published.yaml"], encoding="utf-8")
    loaded = load_manifest(tmp_path / "manifest.yaml").manifest
    assert list(loaded.evaluation) == ["wikitext2", "lambada", "pope", "etth1"]


def test_the_table_lists_every_metric_of_ours() -> None:
    rows = [line.split("|")[1] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    ours = {entry.spec.name for entry in discover().components("metric") if entry.distribution == "modrwkv"}
    assert listed == ours
