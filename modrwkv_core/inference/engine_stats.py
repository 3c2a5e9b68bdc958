"""What an engine does and has done."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EngineStats"]


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What an engine does and has done.

    Attributes:
        running: Requests that are read or answered now.
        waiting: Requests that wait for a slot, or whose media are being processed.
        free_slots: Requests that could start now.
        finished: Requests that have ended, for whatever reason.
        prompt_tokens: Tokens of prompts that were read.
        cached_tokens: Tokens of prompts that were not read because of the prefix cache.
        prefix_hits: Prompts of which the prefix cache had a beginning.
        prefix_misses: Prompts of which it had none.
        prefix_bytes: Bytes of states in the prefix cache.
        completion_tokens: Tokens that were drawn.
        steps: Steps of the batch.
    """

    running: int
    waiting: int
    free_slots: int
    finished: int
    prompt_tokens: int
    cached_tokens: int
    prefix_hits: int
    prefix_misses: int
    prefix_bytes: int
    completion_tokens: int
    steps: int
