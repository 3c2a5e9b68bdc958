"""What a model or a file says, shown on a terminal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["on_interrupt", "printable", "shown"]

_DELETE: Final = 0x7F
_VISIBLE: Final = (
    {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
    | {_DELETE: "\u2421"}
    | {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}
)


def printable(text: str) -> str:
    """Return ``text`` with visible symbols in the place of control characters, which a terminal obeys.

    Line feeds and tabs stay.
    """
    return text.translate(_VISIBLE)


def shown(text: str) -> str:
    """Return ``text`` for standard output: :func:`printable` on a terminal, as it is in a file or a pipe."""
    return printable(text) if sys.stdout.isatty() else text


@contextmanager
def on_interrupt(act: Callable[[], None]) -> Iterator[None]:
    """Within a ``with`` statement of the main thread, let Ctrl-C call ``act`` instead of raising."""
    before = signal.signal(signal.SIGINT, lambda *_: act())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
