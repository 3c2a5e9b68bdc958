"""The manifest and the augmentation of the page work as the page says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modrwkv_core.plugin import ComponentSpec
from modrwkv_core.registry import discover
from modrwkv_core.training.loggers import read_metrics

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "augment.md"


@pytest.mark.slow
def test_a_reader_augments_and_writes_an_augmentation(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(PAGE, tmp_path)
    lines = read_metrics(tmp_path / "runs/waves")
    assert [line["step"] for line in lines if "loss" in line] == [8, 12]
    assert len([line for line in lines if "valid/forecast" in line]) == 2


def test_the_table_lists_every_augmentation_of_ours() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    listed = {name.strip(" `"): row.split("|")[3].strip(" `") for row in rows for name in row.split("|")[1].split(",")}
    ours: list[ComponentSpec] = [
        entry.spec for entry in discover().components("augmentation") if entry.distribution.startswith("modrwkv")
    ]
    assert listed == {spec.name: spec.modality or "any modality" for spec in ours}
