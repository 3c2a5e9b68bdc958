"""The page about the engine works on any run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.training.loop import train

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "engine.md"


def test_the_page_runs(
    tiny_manifest: Callable[..., Path], follow: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "mine"
    train(load_manifest(tiny_manifest()), run, device="cpu", progress_bar=False, resume=False)
    follow(PAGE, tmp_path)
