"""Conversations that are kept by name: each one is the state after its turns so far."""

from __future__ import annotations

import secrets
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Self

from modrwkv_core.errors import DataError, ModRWKVError, SessionBusyError, WriteError
from modrwkv_core.inference.conversation import Conversation
from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.generation import Generation
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.session_folder import SessionFolder, unknown_session
from modrwkv_core.inference.snapshot import Snapshot

__all__ = ["SessionStore"]


class SessionStore:
    """Conversations by name, in memory and, once saved, in a folder. Thread-safe; it is closed before its engine.

    Beyond ``limit`` conversations or ``max_bytes``, saved ones that were not used for longest leave memory, and are
    read from the folder when they are wanted. Where none is saved, the one not used for longest is forgotten, for a
    server must not be filled up by those who left it. Those that are being answered, or whose latest turns are not on
    the disk yet, stay.

    Args:
        engine: Answers.
        folder: Where conversations are saved; None saves none.
        limit: Conversations in memory at most.
        max_bytes: Bytes of all their states, which lie on the model's device.
        undo: Answers that can be undone; each takes the memory of a state.
        shared: Whether stores of other processes use the folder, too. Then conversations are saved from their
            beginning, and read again where another process has gone on with them.

    Raises:
        ModRWKVError: The store is shared, and has no folder.
    """

    def __init__(
        self,
        engine: Engine,
        folder: Path | None = None,
        limit: int = 1024,
        max_bytes: int = 2**31,
        undo: int = 8,
        *,
        shared: bool = False,
    ) -> None:
        if shared and folder is None:
            raise ModRWKVError("shared sessions have no folder", hint="name the folder that the processes share")
        self.engine = engine
        self._shared = shared
        self._limit = limit
        self._max_bytes = max_bytes
        self._kept = undo + 1
        self._conversations: OrderedDict[str, Conversation] = OrderedDict()  # the one that was used last at the end
        self._holders: Counter[str] = Counter()  # of states, which forks share
        self._bytes = 0
        self._answering: set[str] = set()
        self._unwritten: set[str] = set()  # saved ones that have changed since
        # Nobody waits for the disk while holding it: the engine's thread needs it.
        self._lock = RLock()
        self._folder = None if folder is None else SessionFolder(folder, engine.session.load_snapshot)
        self._disk = ThreadPoolExecutor(1, "modrwkv-sessions")

    def create(self) -> Conversation:
        """Begin a conversation.

        Raises:
            SessionBusyError: There are as many as may be, and none can leave memory.
            WriteError: The store is shared, and writing failed.
        """
        return self._begin(Conversation(secrets.token_hex(16)))

    def __contains__(self, name: str) -> bool:
        """Whether there is a conversation of this name, in memory or saved."""
        return (not self._shared and name in self._conversations) or (self._folder is not None and name in self._folder)

    def get(self, name: str) -> Conversation:
        """Return a conversation.

        Raises:
            DataError: There is none of that name.
            CheckpointError: What was saved is damaged, or another model's.
            SessionBusyError: It is not in memory, where are as many as may be, and none can leave.
        """
        with self._lock:
            current = self._current(name)
            if current is not None:
                self._conversations.move_to_end(name)
                return current
        if not self._shared and name not in self:
            raise unknown_session(name)
        return self._disk.submit(self._load, name).result()

    def fork(self, name: str) -> Conversation:
        """Begin a conversation that goes on from where another one stands; states are shared, not copied.

        Raises:
            DataError: There is none of that name.
            SessionBusyError: There are as many as may be, and none can leave memory.
            WriteError: The store is shared, and writing failed.
        """
        return self._begin(replace(self.get(name), name=secrets.token_hex(16), is_saved=False))

    def undo(self, name: str) -> Conversation:
        """Take the latest turn back.

        Raises:
            DataError: There is none of that name, or nothing that can be undone.
            SessionBusyError: It is being answered.
            WriteError: It is saved, and writing failed.
        """
        with self._idle(name) as conversation:
            if not conversation.can_undo:
                raise DataError(
                    f"the session {name} has nothing that can be undone",
                    hint=f"the latest {self._kept - 1} answers can be undone",
                )
            undone = self._update(conversation.before())
        self.flush(name)
        return undone

    def restore(self, name: str, snapshot: Snapshot) -> Conversation:
        """Go on from a given state; :meth:`undo` returns to what was before.

        Raises:
            DataError: There is no conversation of that name.
            SessionBusyError: It is being answered.
            CheckpointError: The state is another model's.
            WriteError: It is saved, and writing failed.
        """
        snapshot.check(self.engine.session.model_digest)
        with self._idle(name) as conversation:
            restored = self._update(conversation.after(snapshot, self._kept))
        self.flush(name)
        return restored

    def save(self, name: str) -> Conversation:
        """Write a conversation to the folder, now and from now on soon after each answer.

        Raises:
            DataError: There is none of that name.
            ModRWKVError: The store has no folder.
            WriteError: Writing failed.
        """
        if self._folder is None:
            raise ModRWKVError("sessions cannot be saved: there is no folder for them", hint="start with one")
        return self._disk.submit(self._save, name, self._folder).result()

    def delete(self, name: str) -> None:
        """Forget a conversation, and what was saved of it, be it damaged.

        Raises:
            DataError: There is none of that name.
            WriteError: Its files cannot be deleted.
        """
        if name not in self:
            raise unknown_session(name)
        self._disk.submit(self._delete, name).result()

    def names(self) -> list[str]:
        """Return the names of all conversations, in memory or saved."""
        saved = [] if self._folder is None else self._folder.names()
        with self._lock:
            return sorted({*(() if self._shared else self._conversations), *saved})

    def submit(self, request: Request, *, on_finish: Callable[[Conversation | None], None] | None = None) -> Generation:
        """Answer the turns of a request in the conversation that its ``session`` names; the answer becomes part of it.

        The conversation stands after the answer once the answer's last event has come. It stays as it was if the answer
        ends with an error or before its prompt was read.

        Args:
            request: What to answer.
            on_finish: Called once, on the engine's thread before the last event, with the conversation after the
                answer; None if it stays as it was. It must be quick.

        Raises:
            DataError: There is no such conversation.
            SessionBusyError: The conversation is being answered.
            ModRWKVError: The request has a state of its own; see also :meth:`Engine.submit`.
        """
        name = request.session
        if name is None or request.state is not None:
            raise ModRWKVError("a request to a session names it and has no state", hint="set `session` alone")
        with self._idle(name) as conversation:
            go_on = partial(self._go_on, name, on_finish)
            generation = self.engine.submit(replace(request, state=conversation.snapshot), on_finish=go_on)
            self._answering.add(name)  # the engine's thread waits for the lock before it goes on
        return generation

    def flush(self, name: str) -> None:
        """Wait until the latest turn of a conversation is written, if the conversation is saved.

        Raises:
            WriteError: It cannot be written. It is kept in memory, and the next turn tries again.
        """
        self._disk.submit(self._write, name).result()

    def close(self) -> None:
        """Wait until everything is written."""
        with self._lock:
            for name in self._unwritten:
                self._disk.submit(self._write_or_warn, name)
        self._disk.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _idle(self, name: str) -> Iterator[Conversation]:
        """Yield a conversation that is not being answered, and hold the lock, so that it stays as it is."""
        while True:
            self.get(name)  # it may read a file
            with self._lock:
                if name in self._answering:
                    raise SessionBusyError(
                        f"the session {name} is being answered", hint="wait for the answer, or fork the session"
                    )
                if name in self._conversations:  # it may have left memory meanwhile
                    yield self._conversations[name]
                    return

    def _go_on(
        self, name: str, on_finish: Callable[[Conversation | None], None] | None, snapshot: Snapshot | None
    ) -> None:
        """Take an answer into its conversation; the engine calls this before the answer's last event."""
        after = None
        with self._lock:
            self._answering.discard(name)
            if snapshot is not None and name in self._conversations:  # it may have been deleted
                after = self._update(self._conversations[name].after(snapshot, self._kept))
        if on_finish is not None:
            on_finish(after)

    def _current(self, name: str) -> Conversation | None:
        """Return a conversation that no other process has gone on with meanwhile; None if it must be looked up."""
        if self._shared and name not in self._answering and name not in self._unwritten:
            return None
        return self._conversations.get(name)

    def _begin(self, conversation: Conversation) -> Conversation:
        if not self._shared:
            return self._add(conversation)
        with self._lock:
            saved = self._add(replace(conversation, is_saved=True))
            self._unwritten.add(saved.name)
        try:
            self.flush(saved.name)
        except WriteError:
            with self._lock:
                self._remove(saved.name)
                self._unwritten.discard(saved.name)
            raise
        return saved

    def _add(self, conversation: Conversation) -> Conversation:
        with self._lock:
            self._put(conversation)
            self._make_room()
            if len(self._conversations) > self._limit:
                self._remove(conversation.name)
                raise SessionBusyError(
                    f"{self._limit} sessions are being answered, or wait to be written", hint="try again in a moment"
                )
        return conversation

    def _update(self, conversation: Conversation) -> Conversation:
        self._put(conversation)
        if conversation.is_saved:
            self._unwritten.add(conversation.name)
            self._disk.submit(self._write_or_warn, conversation.name)
        self._make_room()
        return conversation

    def _put(self, conversation: Conversation) -> None:
        self._remove(conversation.name)
        self._conversations[conversation.name] = conversation
        for key, snapshot in conversation.snapshots:
            self._holders[key] += 1
            if self._holders[key] == 1:
                self._bytes += snapshot.state.nbytes

    def _remove(self, name: str) -> None:
        former = self._conversations.pop(name, None)
        for key, snapshot in () if former is None else former.snapshots:
            self._holders[key] -= 1
            if not self._holders[key]:
                del self._holders[key]
                self._bytes -= snapshot.state.nbytes

    def _make_room(self) -> None:
        """Let conversations leave memory, as far as they may, except for the one that was used last."""
        while len(self._conversations) > self._limit or self._bytes > self._max_bytes:
            stay = {*self._answering, *self._unwritten, next(reversed(self._conversations))}
            leaving = [one for one in self._conversations.values() if one.name not in stay]
            oldest = next((one for one in leaving if one.is_saved), leaving[0] if leaving else None)
            if oldest is None:
                return
            self._remove(oldest.name)

    # What follows runs on the thread of the disk, in the order in which it was asked for.

    def _load(self, name: str) -> Conversation:
        with self._lock:
            current = self._current(name)
            if current is not None:  # another one has read it
                return current
            known = self._conversations.get(name)
        if self._folder is None:
            raise unknown_session(name)
        try:
            found = self._folder.read(name, known)
        except DataError:
            with self._lock:
                self._remove(name)  # another process has deleted it
            raise
        with self._lock:
            current = self._current(name)  # it may have gone on meanwhile
            return self._add(found) if current is None else current

    def _save(self, name: str, folder: SessionFolder) -> Conversation:
        conversation = self._load(name)
        folder.write(conversation)
        with self._lock:
            current = self._conversations.get(name)
            if current is None:
                return replace(conversation, is_saved=True)
            saved = replace(current, is_saved=True)
            if current is conversation:
                self._unwritten.discard(name)
                self._put(saved)
                return saved
            return self._update(saved)  # it has gone on meanwhile

    def _write_or_warn(self, name: str) -> None:
        try:
            self._write(name)
        except (OSError, WriteError) as error:
            warnings.warn(f"the session {name} is not saved, which its next answer tries again: {error}", stacklevel=2)

    def _write(self, name: str) -> None:
        with self._lock:
            conversation = self._conversations.get(name)
            if conversation is None or name not in self._unwritten:  # it was deleted, or is written already
                return
        assert self._folder is not None, "it is saved"
        self._folder.write(conversation)
        with self._lock:
            if self._conversations.get(name) is conversation:
                self._unwritten.discard(name)
                self._make_room()

    def _delete(self, name: str) -> None:
        if self._folder is not None:
            self._folder.delete(name)
        with self._lock:
            self._remove(name)
            self._unwritten.discard(name)
