"""ModRWKV models in the field's evaluation harnesses: lm-evaluation-harness and lmms-eval."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["TASKS"]

TASKS: Final = Path(__file__).parent / "tasks"
"""Folder of tasks for lmms-eval that it does not bring itself; its option ``--include_path`` takes it."""
