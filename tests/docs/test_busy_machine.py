"""The page on sharing a CPU, and the value that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from modrwkv_core.cli.threads import SPIN_COUNT

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "busy-machine.md"


@pytest.mark.slow
def test_a_reader_sets_the_policy(tmp_path: Path, follow: Callable[[Path, Path], None]) -> None:
    follow(PAGE, tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    assert f"GOMP_SPINCOUNT={SPIN_COUNT}" in text
    assert f'"GOMP_SPINCOUNT", "{SPIN_COUNT}"' in text
