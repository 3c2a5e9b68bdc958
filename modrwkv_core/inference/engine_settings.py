"""How an engine works."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modrwkv_core.errors import ModRWKVError

__all__ = ["EngineSettings"]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine works.

    Attributes:
        slots: Requests that are read and answered at the same time at most.
        queue: Requests that wait for a slot at most.
        prefill_chunk: Tokens of prompts that are read between two steps of the answers.
        processors: Threads that decode and process media. Those of as many requests are made ready before a slot is
            free.
        prefix_cache_bytes: Memory for states of the beginnings of prompts, which are then not read again; 0 keeps none.
            States that grow with what was read, as those of a Transformer, are never kept.
        prefix_cache_dir: Folder in which such states outlive the engine; None writes none.
        prefix_cache_disk_bytes: What they may take there.
        media_cache_bytes: Memory for media as their encoders read them, so that those of a conversation, or of several
            questions, are decoded and processed once; 0 keeps none.

    Raises:
        ModRWKVError: A value is out of its range.
    """

    slots: int = 16
    queue: int = 256
    prefill_chunk: int = 512
    processors: int = 2
    prefix_cache_bytes: int = 2**28
    prefix_cache_dir: Path | None = None
    prefix_cache_disk_bytes: int = 2**32
    media_cache_bytes: int = 2**26

    def __post_init__(self) -> None:
        for name in ("prefix_cache_bytes", "media_cache_bytes"):
            if getattr(self, name) < 0:
                raise ModRWKVError(f"{name} is {getattr(self, name)}", hint="it must be 0 or more")
        for name in ("slots", "queue", "prefill_chunk", "processors", "prefix_cache_disk_bytes"):
            if getattr(self, name) < 1:
                raise ModRWKVError(f"{name} is {getattr(self, name)}", hint="it must be at least 1")
