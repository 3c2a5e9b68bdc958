"""One run of a sweep: a combination with a seed, trained and evaluated by the ``modrwkv`` program."""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from modrwkv_core.storage.files import write_json

__all__ = ["Job", "Outcome"]

PROGRAM: Final = (sys.executable, "-m", "modrwkv_core")
"""What runs a command."""

_LIBC: Final = ctypes.CDLL(None)
_PR_SET_PDEATHSIG: Final = 1
_ERROR_LINES: Final = 12
"""Most lines of a failed program's output that are kept as its error."""


class Outcome:
    """What a run reached; kept beside it, so that it is not trained again.

    Args:
        scores: By name.
        error: What stopped it; None if it is complete.
    """

    def __init__(self, scores: Mapping[str, float], error: str | None) -> None:
        self.scores = dict(scores)
        self.error = error

    @classmethod
    def read(cls, path: Path) -> Outcome | None:
        """Read an outcome; None if there is none yet."""
        if not path.exists():
            return None
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(content["scores"], content["error"])

    def write(self, path: Path) -> None:
        """Write it."""
        write_json(path, {"scores": self.scores, "error": self.error})


class Job:
    """A run of a sweep.

    Args:
        folder: The trial's folder.
        seed: The run's seed.
        commands: Arguments of the ``modrwkv`` program, one command after the other.
    """

    def __init__(self, folder: Path, seed: int, commands: Sequence[Sequence[str]]) -> None:
        self.folder = folder
        self.seed = seed
        self._commands = list(commands)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / f"seed-{self.seed}"

    @property
    def outcome(self) -> Path:
        """The file of what it reached."""
        return self.folder / f"seed-{self.seed}.json"

    @property
    def log(self) -> Path:
        """The file of what the program printed."""
        return self.folder / f"seed-{self.seed}.log"

    def start(self, environ: Mapping[str, str]) -> None:
        """Begin the first command."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.unlink(missing_ok=True)
        self._environ = dict(environ)
        self._next()

    def poll(self) -> int | None:
        """Return the exit code of the last command, or of the one that failed; None while the job goes on."""
        assert self._process is not None, "started"
        code = self._process.poll()
        if code == 0 and self._commands:
            self._next()
            return None
        return code

    def stop(self) -> None:
        """Ask the program to save a checkpoint and end."""
        assert self._process is not None, "started"
        self._commands = []
        self._process.terminate()

    def wait(self) -> None:
        """Wait for the program's end."""
        assert self._process is not None, "started"
        self._process.wait()

    def error(self, code: int) -> str:
        """Return what a failed program said last."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        first = next((index for index, line in enumerate(lines) if line.startswith("error: ")), 0)
        said = "\n".join(lines[first:][-_ERROR_LINES:]).removeprefix("error: ")
        by = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return said if code == 2 and said else f"{by}\n{said}".strip()

    def _next(self) -> None:
        command = [*PROGRAM, *self._commands.pop(0)]
        with self.log.open("ab") as log:
            # In a session of its own: Ctrl-C reaches the sweep alone, which then asks its runs to save.
            self._process = subprocess.Popen(
                command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )


def _end_with_parent() -> None:
    """Have the process asked to end when the sweep is killed, so that nothing trains unseen."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
