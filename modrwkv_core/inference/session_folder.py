"""Conversations on the disk."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from modrwkv_core.errors import CheckpointError, DataError, WriteError
from modrwkv_core.inference.conversation import Conversation
from modrwkv_core.inference.snapshot import Snapshot
from modrwkv_core.storage.files import write_json

__all__ = ["SessionFolder", "unknown_session"]

_NAME: Final = re.compile(r"[0-9a-f]{32}")
_INDEX: Final = "conversation.json"


class SessionFolder:
    """Conversations that are saved, each in a folder of its own. Not thread-safe.

    Args:
        path: Where they are.
        load_snapshot: Reads a state.
    """

    def __init__(self, path: Path, load_snapshot: Callable[[Path], Snapshot]) -> None:
        self._path = path
        self._load_snapshot = load_snapshot

    def __contains__(self, name: str) -> bool:
        """Whether a conversation of this name is saved, be it damaged."""
        return _NAME.fullmatch(name) is not None and (self._path / name / _INDEX).is_file()

    def names(self) -> list[str]:
        """Return the names of all conversations."""
        return sorted(path.parent.name for path in self._path.glob(f"*/{_INDEX}") if _NAME.fullmatch(path.parent.name))

    def write(self, conversation: Conversation) -> None:
        """Write a conversation, of which states that are there already are not written again.

        Raises:
            WriteError: Writing failed. What was saved before is as it was.
        """
        folder = self._path / conversation.name
        files = {f"{key}.safetensors": snapshot for key, snapshot in conversation.snapshots}
        try:
            for name, snapshot in files.items():
                if not (folder / name).is_file():
                    snapshot.save(folder / name)
            write_json(folder / _INDEX, {"turns": conversation.turns, "snapshots": list(files)})
        except WriteError:
            if conversation.name not in self:
                shutil.rmtree(folder, ignore_errors=True)  # states that nothing names
            raise
        for path in folder.glob("*.safetensors"):
            if path.name not in files:
                path.unlink(missing_ok=True)

    def read(self, name: str, known: Conversation | None = None) -> Conversation:
        """Read a conversation.

        Args:
            name: Its name.
            known: What is known of it; returned if it is what was saved.

        Raises:
            DataError: There is none of that name.
            CheckpointError: It is damaged, or another model's.
        """
        if name not in self:
            raise unknown_session(name)
        path = self._path / name / _INDEX
        try:
            index = json.loads(path.read_text(encoding="utf-8"))
            turns, files = int(index["turns"]), [str(file) for file in index["snapshots"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path} is damaged: {error}", hint="delete the session") from error
        if known is not None and (turns, files) == (known.turns, [f"{key}.safetensors" for key, _ in known.snapshots]):
            return known
        snapshots = tuple((Path(file).stem, self._load_snapshot(path.parent / Path(file).name)) for file in files)
        return Conversation(name, snapshots, turns, is_saved=True)

    def delete(self, name: str) -> None:
        """Delete a conversation, be it damaged; nothing happens if there is none of that name.

        Raises:
            WriteError: It cannot be deleted.
        """
        if name in self:
            try:
                shutil.rmtree(self._path / name)
            except OSError as error:
                raise WriteError(
                    f"cannot delete {self._path / name}: {error.strerror}", hint="check the folder's permissions"
                ) from error


def unknown_session(name: str) -> DataError:
    """Return the error of a name that no conversation has."""
    return DataError(
        f"there is no session {name!r}", hint="create one; sessions that were not saved end with a process"
    )
