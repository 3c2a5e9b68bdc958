"""Conversations that a server keeps: each one is the state after its turns so far."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import warnings
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Final, Self

from modrwkv_core.errors import CheckpointError, DataError, ModRWKVError, SessionBusyError, WriteError
from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.generation import Generation
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.snapshot import Snapshot
from modrwkv_core.storage.files import write_json

__all__ = ["Conversation", "SessionStore"]

_NAME: Final = re.compile(r"[0-9a-f]{32}")
_INDEX: Final = "conversation.json"


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as it stands. A value: to go on with it makes another one.

    Attributes:
        name: Names it.
        snapshots: The states after the latest answers by unique keys, the newest last; none before the first answer.
        turns: Number of answers so far.
        is_saved: Whether it is written to the folder, after each answer again.
    """

    name: str
    snapshots: tuple[tuple[str, Snapshot], ...] = ()
    turns: int = 0
    is_saved: bool = False

    @property
    def tokens_read(self) -> int:
        """Tokens that its state has read."""
        return 0 if self.snapshot is None else self.snapshot.tokens_read

    @property
    def snapshot(self) -> Snapshot | None:
        """The state after the latest answer; None before the first."""
        return self.snapshots[-1][1] if self.snapshots else None


class SessionStore:
    """Conversations by name, in memory and, once saved, in a folder. Thread-safe; it is closed before its engine.

    Args:
        engine: Answers.
        folder: Where conversations are saved; None saves none.
        limit: Conversations in memory at most. Beyond it, saved ones that were not used for longest leave memory, and
            are read from the folder when they are wanted. Where none is saved, the one not used for longest is
            forgotten, for a server must not be filled up by those who left it.
        undo: Answers that can be undone; each takes the memory of a state.
        shared: Whether stores of other processes use the folder, too. Then conversations are saved from their
            beginning, and read again where another process has gone on with them.

    Raises:
        ModRWKVError: The store is shared, and has no folder.
    """

    def __init__(
        self, engine: Engine, folder: Path | None = None, limit: int = 1024, undo: int = 8, *, shared: bool = False
    ) -> None:
        if shared and folder is None:
            raise ModRWKVError("shared sessions have no folder", hint="name the folder that the processes share")
        self.engine = engine
        self._folder = folder
        self._shared = shared
        self._limit = limit
        self._kept = undo + 1
        self._conversations: OrderedDict[str, Conversation] = OrderedDict()  # the one that was used last at the end
        self._answering: set[str] = set()
        self._writes: dict[str, Future[None]] = {}  # the latest of each conversation, until flush() has seen it
        self._lock = RLock()
        self._disk = None if folder is None else ThreadPoolExecutor(1, "modrwkv-sessions")

    def create(self) -> Conversation:
        """Begin a conversation.

        Raises:
            SessionBusyError: There are as many as may be, and all of them are being answered.
            WriteError: The store is shared, and writing failed.
        """
        return self._begin(Conversation(secrets.token_hex(16)))

    def get(self, name: str) -> Conversation:
        """Return a conversation.

        Raises:
            DataError: There is none of that name.
            CheckpointError: What was saved is damaged, or another model's.
        """
        with self._lock:
            known = self._conversations.get(name)
            if known is not None and (not self._shared or name in self._answering):
                self._conversations.move_to_end(name)
                return known
            self._conversations.pop(name, None)
            read = partial(self._read, name, known)
            return self._add(read() if self._disk is None else self._disk.submit(read).result())

    def fork(self, name: str) -> Conversation:
        """Begin a conversation that goes on from where another one stands; states are shared, not copied.

        Raises:
            DataError: There is none of that name.
            SessionBusyError: There are as many as may be, and all of them are being answered.
            WriteError: The store is shared, and writing failed.
        """
        with self._lock:
            return self._begin(replace(self.get(name), name=secrets.token_hex(16), is_saved=False))

    def undo(self, name: str) -> Conversation:
        """Take the latest turn of the user and its answer back.

        Raises:
            DataError: There is none of that name, or nothing that can be undone.
            SessionBusyError: It is being answered.
            WriteError: It is saved, and writing failed.
        """
        with self._lock:
            self._check_idle(name)
            before = self.get(name)
            if not before.snapshots or (len(before.snapshots) == 1 and before.turns > 1):
                raise DataError(
                    f"the session {name} has nothing that can be undone",
                    hint=f"the latest {self._kept - 1} answers can be undone",
                )
            undone = self._update(replace(before, snapshots=before.snapshots[:-1], turns=before.turns - 1))
            self.flush(name)
            return undone

    def save(self, name: str) -> Conversation:
        """Write a conversation to the folder, now and from now on soon after each answer.

        Raises:
            DataError: There is none of that name.
            ModRWKVError: The store has no folder.
            WriteError: Writing failed.
        """
        with self._lock:
            if self._disk is None:
                raise ModRWKVError("sessions cannot be saved: there is no folder for them", hint="start with one")
            saved = replace(self.get(name), is_saved=True)
            self._disk.submit(self._write, saved).result()
            self._conversations[name] = saved
            return saved

    def delete(self, name: str) -> None:
        """Forget a conversation, and what was saved of it.

        Raises:
            DataError: There is none of that name.
        """
        with self._lock:
            self.get(name)
            del self._conversations[name]
            self._writes.pop(name, None)
            if self._disk is not None and self._folder is not None:
                self._disk.submit(shutil.rmtree, self._folder / name, ignore_errors=True).result()

    def names(self) -> list[str]:
        """Return the names of all conversations, in memory or saved."""
        with self._lock:
            saved = () if self._folder is None else (path.parent.name for path in self._folder.glob(f"*/{_INDEX}"))
            return sorted({*self._conversations, *filter(_NAME.fullmatch, saved)})

    def submit(self, request: Request) -> Generation:
        """Answer the turns of a request in the conversation that its ``session`` names; the answer becomes part of it.

        The conversation stands after the answer once the answer's last event has come. It stays as it was if the answer
        ends with an error or before its prompt was read.

        Raises:
            DataError: There is no such conversation.
            SessionBusyError: The conversation is being answered.
            ModRWKVError: The request has a state of its own; see also :meth:`Engine.submit`.
        """
        name = request.session
        if name is None or request.state is not None:
            raise ModRWKVError("a request to a session names it and has no state", hint="set `session` alone")
        with self._lock:
            self._check_idle(name)
            conversation = self.get(name)
            go_on = partial(self._go_on, conversation)
            generation = self.engine.submit(replace(request, state=conversation.snapshot), on_finish=go_on)
            self._answering.add(name)  # the engine's thread waits for the lock before it goes on
        return generation

    def flush(self, name: str) -> None:
        """Wait until the latest answer of a conversation is written, if the conversation is saved.

        Raises:
            WriteError: Writing failed.
        """
        with self._lock:
            writing = self._writes.pop(name, None)
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Wait until everything is written."""
        if self._disk is not None:
            self._disk.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _go_on(self, before: Conversation, snapshot: Snapshot | None) -> None:
        """Take an answer into its conversation; the engine calls this before the answer's last event."""
        with self._lock:
            self._answering.discard(before.name)
            current = self._conversations.get(before.name)
            if snapshot is not None and current is not None:
                snapshots = (*current.snapshots, (secrets.token_hex(8), snapshot))[-self._kept :]
                self._update(replace(current, snapshots=snapshots, turns=current.turns + 1))

    def _check_idle(self, name: str) -> None:
        if name in self._answering:
            raise SessionBusyError(
                f"the session {name} is being answered", hint="wait for the answer, or fork the session"
            )

    def _begin(self, conversation: Conversation) -> Conversation:
        if self._shared and self._disk is not None:
            conversation = replace(conversation, is_saved=True)
            self._disk.submit(self._write, conversation).result()
        return self._add(conversation)

    def _add(self, conversation: Conversation) -> Conversation:
        with self._lock:
            if len(self._conversations) >= self._limit:
                idle = [one for one in self._conversations.values() if one.name not in self._answering]
                oldest = next((one for one in idle if one.is_saved), idle[0] if idle else None)
                if oldest is None:
                    raise SessionBusyError(f"{self._limit} sessions are being answered", hint="try again in a moment")
                del self._conversations[oldest.name]
            self._conversations[conversation.name] = conversation
        return conversation

    def _update(self, conversation: Conversation) -> Conversation:
        self._conversations[conversation.name] = conversation
        self._conversations.move_to_end(conversation.name)
        if conversation.is_saved and self._disk is not None:
            self._writes[conversation.name] = self._disk.submit(self._write_or_warn, conversation)
        return conversation

    # What follows runs on the thread of the disk, in the order in which it was asked for.

    def _write_or_warn(self, conversation: Conversation) -> None:
        try:
            self._write(conversation)
        except (OSError, WriteError) as error:
            warnings.warn(f"the session {conversation.name} is not saved: {error}", stacklevel=2)
            raise

    def _write(self, conversation: Conversation) -> None:
        assert self._folder is not None, "there is no folder"
        folder = self._folder / conversation.name
        files = {f"{key}.safetensors": snapshot for key, snapshot in conversation.snapshots}
        for name, snapshot in files.items():
            if not (folder / name).is_file():
                snapshot.save(folder / name)
        write_json(folder / _INDEX, {"turns": conversation.turns, "snapshots": list(files)})
        for path in folder.glob("*.safetensors"):
            if path.name not in files:
                path.unlink()

    def _read(self, name: str, known: Conversation | None) -> Conversation:
        path = None if self._folder is None or not _NAME.fullmatch(name) else self._folder / name / _INDEX
        if path is None or not path.is_file():
            raise DataError(
                f"there is no session {name!r}", hint="create one; sessions that were not saved end with a process"
            )
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            turns, files = int(index["turns"]), [str(file) for file in index["snapshots"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} is damaged: {error}", hint="delete the session") from error
        if known is not None and (turns, files) == (known.turns, [f"{key}.safetensors" for key, _ in known.snapshots]):
            return known
        load = self.engine.session.load_snapshot
        snapshots = tuple((Path(file).stem, load(path.parent / Path(file).name)) for file in files)
        return Conversation(name, snapshots, turns, is_saved=True)
