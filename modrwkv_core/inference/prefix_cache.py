"""States of the beginnings of prompts, so that what was read once is not read again."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Final

from modrwkv_core.errors import CheckpointError, WriteError
from modrwkv_core.interfaces.state import State

__all__ = ["PrefixCache"]

_SUFFIX: Final = ".safetensors"


class PrefixCache:
    """States by keys that say all that they depend on: the model, the tokens and the media that were read.

    Once states in memory need more than ``max_bytes``, those that were not used for longest are written to the folder,
    or forgotten without one; :meth:`close` writes the others. The folder is bounded in the same way. Where the disk is
    slower than states come, those beyond another ``max_bytes`` are forgotten.

    Args:
        state_type: Type of the backbone's states.
        max_bytes: Bytes in memory.
        folder: Where states outlive the process; None keeps them in memory only.
        max_disk_bytes: Bytes in the folder.
    """

    def __init__(
        self, state_type: type[State], max_bytes: int, folder: Path | None = None, max_disk_bytes: int = 2**32
    ) -> None:
        self._state_type = state_type
        self._max_bytes = max_bytes
        self._folder = folder
        self._max_disk_bytes = max_disk_bytes
        self._states: OrderedDict[str, State] = OrderedDict()  # the one that was used last at the end
        self._bytes = self._unwritten_bytes = 0
        self._lock = Lock()
        self._writer = None if folder is None else ThreadPoolExecutor(1, "modrwkv-prefix-cache")

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._bytes

    def __len__(self) -> int:
        """Return the number of states in memory."""
        return len(self._states)

    def get(self, key: str) -> State | None:
        """Return the state of ``key`` that is in memory, of batch size 1; nothing may write into it."""
        with self._lock:
            if key in self._states:
                self._states.move_to_end(key)
            return self._states.get(key)

    def put(self, key: str, state: State) -> None:
        """Keep a state that nothing writes into. Never waits for the disk."""
        nbytes = state.nbytes
        with self._lock:
            if key in self._states or nbytes > self._max_bytes:
                return
            self._states[key] = state
            self._bytes += nbytes
            while self._bytes > self._max_bytes:
                oldest, evicted = self._states.popitem(last=False)
                self._bytes -= evicted.nbytes
                if self._writer is not None and self._unwritten_bytes + evicted.nbytes <= self._max_bytes:
                    self._unwritten_bytes += evicted.nbytes
                    self._writer.submit(self._write_evicted, oldest, evicted)

    def load(self, keys: Sequence[str]) -> None:
        """Bring the first of ``keys`` that is known into memory, if it is in the folder."""
        if self._folder is None:
            return
        for key in keys:
            path = self._path(key)
            if self.get(key) is not None:
                return
            if path.is_file():
                try:
                    self.put(key, self._state_type.load(path))
                    path.touch()
                except CheckpointError as error:
                    path.unlink(missing_ok=True)
                    warnings.warn(f"a state of the prefix cache is left out: {error}", stacklevel=2)
                return

    def close(self) -> None:
        """Write what is in memory to the folder."""
        if self._writer is not None:
            for key, state in self._states.items():
                self._writer.submit(self._write, key, state)
            self._writer.shutdown()

    def _path(self, key: str) -> Path:
        assert self._folder is not None, "there is no folder"
        return self._folder / f"{key}{_SUFFIX}"

    def _write_evicted(self, key: str, state: State) -> None:
        try:
            self._write(key, state)
        finally:
            with self._lock:
                self._unwritten_bytes -= state.nbytes

    def _write(self, key: str, state: State) -> None:
        path = self._path(key)
        try:
            if path.is_file():
                path.touch()
            elif state.nbytes <= self._max_disk_bytes:
                state.save(path)
                self._make_room(path.parent)
        except (OSError, WriteError) as error:
            warnings.warn(f"a state of the prefix cache is not kept: {error}", stacklevel=2)

    def _make_room(self, folder: Path) -> None:
        files = sorted((path.stat().st_mtime_ns, path.stat().st_size, path) for path in folder.glob(f"*{_SUFFIX}"))
        surplus = sum(size for _, size, _ in files) - self._max_disk_bytes
        for _, size, path in files:
            if surplus <= 0:
                return
            path.unlink(missing_ok=True)
            surplus -= size
