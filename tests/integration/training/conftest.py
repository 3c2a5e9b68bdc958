"""Manifests of a small model of text alone."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from text_runs import ONE, Manifest


@pytest.fixture(scope="module")
def write_text_manifest(write_manifest: Manifest) -> Manifest:
    """Write a manifest of a small model of text alone into a folder. Keyword arguments replace sections."""

    def write(folder: Path, **sections: Any) -> Path:
        data = {"train": [{"source": "chat", "path": "talks.jsonl"}], "batch_size": 2}
        plain = {
            "backbone": {"type": "rwkv7", "num_layers": 1, "hidden_size": 64},
            "modalities": {},
            "heads": {"lm": {"type": "lm"}},
            "phases": [ONE],
        }
        return write_manifest(folder, **(plain | sections | {"data": data | sections.get("data", {})}))

    return write


@pytest.fixture
def text_manifest(write_text_manifest: Manifest, tmp_path: Path) -> Manifest:
    """Write such a manifest into the test's own folder."""
    return partial(write_text_manifest, tmp_path / "project")
