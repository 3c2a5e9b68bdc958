"""Several processes of one command on this machine, one for each device."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Final

__all__ = ["launch"]

_PATIENCE: Final = 30.0
"""Seconds that processes have to end after another one failed."""


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run ``modrwkv`` with ``arguments`` in ``processes`` processes that train together, and wait for them.

    If one fails, the others are ended. Ctrl-C and SIGTERM are passed on to all.

    Args:
        arguments: Of the command line.
        processes: How many.

    Returns:
        The exit code of the first that failed, or 0.
    """
    shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    if "OMP_NUM_THREADS" not in os.environ:
        shared["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // processes))
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "modrwkv_core", *arguments],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            start_new_session=True,  # a terminal's Ctrl-C comes once, through this process
        )
        for rank in range(processes)
    ]

    def pass_on(signum: int, _frame: FrameType | None) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(signum)

    before = {signum: signal.signal(signum, pass_on) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _wait(children)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int:
    failed, deadline = 0, float("inf")
    while any(child.poll() is None for child in children):
        codes = [child.poll() for child in children]
        if not failed and (failed := next((code for code in codes if code), 0)):
            deadline = time.monotonic() + _PATIENCE
        if time.monotonic() > deadline:
            for child in children:
                child.kill()
        time.sleep(0.1)
    failed = failed or next((child.returncode for child in children if child.returncode), 0)
    return failed if failed >= 0 else 128 - failed


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
