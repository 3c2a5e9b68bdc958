"""The page on fine-tuning does what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from modrwkv_core.model.run import RunFolder
from modrwkv_core.storage.tensors import read_tensors

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.slow
def test_a_reader_fine_tunes_in_every_way(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(DOCS / "how-to" / "fine-tune.md", tmp_path)
    base = read_tensors(tmp_path / "base.pth")
    merged = read_tensors(tmp_path / "shouting.pth")
    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    assert len(changed) == 12, "the six matrices of both layers"
    first = read_tensors(RunFolder(tmp_path / "runs/all").steps()[0] / "backbone.safetensors")
    same = {name for name in base if torch.equal(base[name], first[name])}
    assert same == {name for name in base if name.startswith(("emb.", "blocks.0."))}
