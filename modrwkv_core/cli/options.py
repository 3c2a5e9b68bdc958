"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["checkpoint_option"]


def checkpoint_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--checkpoint``, for :meth:`modrwkv_core.model.run.RunFolder.select`."""
    return click.option(
        "--checkpoint",
        default="last",
        show_default=True,
        metavar="last|best|STEP",
        help="Which of the run's checkpoints: the newest, that of the best validation, or the one after so many steps.",
    )(command)
