"""The boundary to plugins: whatever their code raises becomes one error that names them.

The core calls components within :class:`guard`. Errors of the project itself pass through, and so does the user's
Ctrl-C. Everything else that a third party's code raises, ``SystemExit`` and other ``BaseException`` included, becomes a
:class:`~modrwkv_core.errors.PluginError`. What it prints goes to standard error, for standard output belongs to the
command. Nothing is caught for the core's own components: their exceptions are mistakes of the core, and look like them.

A guard costs about two microseconds; it is used around whole batches, items and imports, never inside a kernel.
"""

from __future__ import annotations

import dis
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, TextIO

from modrwkv_core.errors import ComponentError, ModRWKVError, PluginError

__all__ = ["CORE", "Origin", "blame", "contained", "guard", "is_users_interrupt", "length_after"]

CORE: Final = "modrwkv"
"""The distribution of the core itself."""

_RAISE: Final = dis.opmap["RAISE_VARARGS"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Who provides a component.

    Attributes:
        component: The component, as ``kind/name``.
        distribution: The installed distribution.
    """

    component: str
    distribution: str


class guard:  # noqa: N801 - a context manager, used like a function
    """Run a plugin's code.

    Args:
        origin: Whose code it is; None lets every exception pass.
        call: What is called, for the message: ``"forward()"``.
        expected: Exceptions that pass, because the caller knows what they mean.

    Raises:
        PluginError: The code raised something else than a :class:`~modrwkv_core.errors.ModRWKVError`.
    """

    __slots__ = ("_call", "_expected", "_origin", "_stdout")

    def __init__(self, origin: Origin | None, call: str, *expected: type[BaseException]) -> None:
        self._origin = origin
        self._call = call
        self._expected = expected
        self._stdout: TextIO | None = None

    def __enter__(self) -> None:
        # Only one thread may swap the streams, or two could restore them in the wrong order.
        if threading.current_thread() is threading.main_thread():
            self._stdout, sys.stdout = sys.stdout, sys.stderr

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._stdout is not None:
            sys.stdout = self._stdout
        if error is not None:
            blame(error, self._origin, self._call, *self._expected)


def blame(error: BaseException, origin: Origin | None, call: str, *expected: type[BaseException]) -> None:
    """Raise the error that names the plugin whose ``call`` raised ``error``; return if ``error`` may pass as it is.

    Raises:
        PluginError: See :class:`guard`.
    """
    if origin is None or origin.distribution == CORE:
        return
    if isinstance(error, (ModRWKVError, GeneratorExit, *expected)) or is_users_interrupt(error):
        return
    raise PluginError(
        f"{call} failed: {type(error).__name__}: {error}",
        component=origin.component,
        distribution=origin.distribution,
        hint=f"`--traceback` shows where; it is {origin.distribution} that must be fixed",
    ) from error


@contextmanager
def contained() -> Iterator[None]:
    """Import plugin code such that ``os._exit()`` raises ``SystemExit`` instead of ending the process in silence."""
    leave, process, inside = os._exit, os.getpid(), True

    def refuse(code: int) -> None:
        if inside and os.getpid() == process:
            raise SystemExit(f"it called os._exit({code})")
        leave(code)

    os._exit = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        inside = False
        os._exit = leave


def is_users_interrupt(error: BaseException) -> bool:
    """Whether ``error`` is a KeyboardInterrupt that a signal caused, not one that code raised by itself.

    A signal interrupts the main thread at any instruction but ``raise``, or in the function that handles it.
    """
    if not isinstance(error, KeyboardInterrupt) or threading.current_thread() is not threading.main_thread():
        return False
    innermost = error.__traceback__
    if innermost is None:
        return True
    while innermost.tb_next is not None:
        innermost = innermost.tb_next
    code = innermost.tb_frame.f_code
    handler = signal.getsignal(signal.SIGINT)
    handles = getattr(getattr(handler, "__func__", handler), "__code__", None)
    return code is handles or code.co_code[innermost.tb_lasti] != _RAISE


class _HasLength(Protocol):
    def out_length(self, length: int, /) -> int: ...


def length_after(config: _HasLength, length: int, origin: Origin | None) -> int:
    """Ask ``config`` for the number of vectors that an item of ``length`` becomes.

    Raises:
        PluginError: Its ``out_length()`` failed.
        ComponentError: It did not return a whole number from 0 on.
    """
    with guard(origin, f"out_length({length})"):
        found = config.out_length(length)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise ComponentError(
            f"out_length({length}) returned {found!r}",
            component=origin.component if origin else type(config).__name__,
            distribution=origin.distribution if origin else None,
            hint="it must return the number of vectors, an int from 0 on",
        )
    return found
