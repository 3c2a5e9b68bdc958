"""A conversation that is kept, as it stands."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from modrwkv_core.inference.snapshot import Snapshot

__all__ = ["Conversation"]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as it stands. A value: to go on with it makes another one.

    Attributes:
        name: Names it.
        snapshots: The states after the latest turns by unique keys, the newest last; none before the first turn.
        turns: Number of answers so far, and of states that were restored.
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
    def key(self) -> str | None:
        """Names the state after the latest turn; None before the first."""
        return self.snapshots[-1][0] if self.snapshots else None

    @property
    def snapshot(self) -> Snapshot | None:
        """The state after the latest turn; None before the first."""
        return self.snapshots[-1][1] if self.snapshots else None

    @property
    def can_undo(self) -> bool:
        """Whether the state before the latest turn is known."""
        return len(self.snapshots) > 1 or self.turns == len(self.snapshots) == 1

    def after(self, snapshot: Snapshot, kept: int) -> Conversation:
        """Return the conversation after another turn, with the latest ``kept`` states."""
        snapshots = (*self.snapshots, (secrets.token_hex(8), snapshot))[-kept:]
        return replace(self, snapshots=snapshots, turns=self.turns + 1)

    def before(self) -> Conversation:
        """Return the conversation before its latest turn, which can be undone."""
        assert self.can_undo, "the state before it is not known"
        return replace(self, snapshots=self.snapshots[:-1], turns=self.turns - 1)
