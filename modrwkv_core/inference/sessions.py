"""Stand-in: conversations whose past is a state; the engine's own store replaces this file."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from modrwkv_core.errors import ModRWKVError, SessionBusyError
from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.generation import Generation
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.snapshot import Snapshot

__all__ = ["Conversation", "SessionStore"]


@dataclass
class Conversation:
    """One conversation."""

    id: str
    created: int
    past: list[Snapshot] = field(default_factory=list)
    is_saved: bool = False
    asked: Generation | None = None


class SessionStore:
    """The conversations of one engine."""

    def __init__(self, engine: Engine, folder: Path | None = None, limit: int = 1024) -> None:
        self._engine = engine
        self._folder = folder
        self._limit = limit
        self._kept: OrderedDict[str, Conversation] = OrderedDict()

    def create(self) -> Conversation:
        """Begin one."""
        made = Conversation(f"sess_{secrets.token_hex(16)}", int(time.time()))
        while len(self._kept) >= self._limit:
            self._kept.popitem(last=False)
        self._kept[made.id] = made
        return made

    def get(self, identifier: str) -> Conversation:
        """Return one."""
        if identifier not in self._kept:
            raise KeyError(identifier)
        self._kept.move_to_end(identifier)
        return self._kept[identifier]

    def __contains__(self, identifier: str) -> bool:
        """Return whether there is one."""
        return identifier in self._kept

    def fork(self, identifier: str) -> Conversation:
        """Copy one."""
        past = list(self.get(identifier).past)
        made = self.create()
        made.past = past
        return made

    def undo(self, identifier: str) -> Conversation:
        """Take the last answer back."""
        one = self.get(identifier)
        if not one.past:
            raise ModRWKVError("the session has no answer to take back")
        one.past.pop()
        return one

    def save(self, identifier: str) -> Conversation:
        """Write one to the folder."""
        if self._folder is None:
            raise ModRWKVError("the server keeps no sessions on disk")
        return self.get(identifier)

    def delete(self, identifier: str) -> None:
        """Forget one."""
        self.get(identifier)
        del self._kept[identifier]

    def ask(self, identifier: str, request: Request) -> Generation:
        """Ask for the next answer; nothing else may be asked until it has ended."""
        one = self.get(identifier)
        if one.asked is not None and one.asked.finished is None:
            raise SessionBusyError("the session is being answered", hint="wait for the end of the answer")
        state = one.past[-1] if one.past else None
        one.asked = self._engine.submit(dataclasses.replace(request, state=state))
        return one.asked

    def keep(self, identifier: str) -> None:
        """Let the answer that has ended join the past."""
        one = self.get(identifier)
        assert one.asked is not None
        one.past.append(one.asked.snapshot())
