"""Ctrl-C and SIGTERM while training: the step is finished, a checkpoint is written, and the program says so."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Final, Self

from modrwkv_core.errors import ModRWKVError

__all__ = ["Interrupts", "TrainingInterruptedError"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class TrainingInterruptedError(ModRWKVError):
    """Training was interrupted by a signal.

    Attributes:
        signal: The signal.
    """

    def __init__(self, signum: signal.Signals) -> None:
        name = "Ctrl-C" if signum is signal.SIGINT else signum.name
        super().__init__(f"interrupted by {name}")
        self.signal = signum


class Interrupts:
    """While it is entered, the first signal is noted; a second one ends the program as usual.

    Outside the main thread, where Python cannot handle signals, nothing is noted.
    """

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._note) for signum in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    @property
    def received(self) -> signal.Signals | None:
        """The signal that came; None if there was none."""
        return self._received

    def check(self) -> None:
        """Stop here if a signal came.

        Raises:
            TrainingInterruptedError: One did.
        """
        if self._received is not None:
            raise TrainingInterruptedError(self._received)

    def _note(self, signum: int, _frame: FrameType | None) -> None:
        self._received = signal.Signals(signum)
        self._restore()

    def _restore(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        self._before = {}
