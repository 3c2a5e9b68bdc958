"""The reference is what the code says now."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the generator writes, by name of the page. In a process of its own, for other tests install plugins."""
    folder = tmp_path_factory.mktemp("reference")
    environment = os.environ | {"MODRWKV_DISABLE_PLUGINS": "modrwkv-mlp", "COLUMNS": "40"}
    command = [sys.executable, DOCS / "generate.py", folder]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {page.name: page.read_text(encoding="utf-8") for page in folder.iterdir()}


def test_the_reference_is_what_the_generator_writes(written: dict[str, str]) -> None:
    there = {page.name: page.read_text(encoding="utf-8") for page in (DOCS / "reference").iterdir()}
    stale = sorted(name for name in written.keys() | there.keys() if written.get(name) != there.get(name))
    assert not stale, f"docs/reference: {', '.join(stale)} not up to date: run `make docs` and commit the result"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("commands.md", ["## modrwkv plugins doctor", "MANIFEST [KEY=VALUE]...", "--horizon INTEGER RANGE"]),
        (
            "manifest.md",
            [
                "| `lr` | number > 0 | required | Highest learning rate;",
                "### Each of `modalities`",
            ],
        ),
        ("components.md", ["### siglip2 (encoder)", "| `kernel` | integer ≥ 1 | `3` |", "### image (modality)"]),
        ("hooks.md", ["modrwkv_checkpoint_saved(run: Path, checkpoint: Path, step: int) -> None", "### PresetSpec"]),
        ("contract.md", ["## EncoderContract", "| gradients reach every parameter | No parameter is dead weight"]),
        ("plugins.md", ["| encoder | [siglip2](components.md#siglip2-encoder) |", "| `pip install modrwkv-siglip2` |"]),
        ("environment.md", ["| `MODRWKV_DATA` |", "| `MODRWKV_MAX_IMAGE_PIXELS` |"]),
    ],
)
def test_the_pages_hold_what_readers_look_for(written: dict[str, str], page: str, words: list[str]) -> None:
    for word in words:
        assert word in written[page]
