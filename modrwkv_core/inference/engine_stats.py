"""What an engine does and has done."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EngineCounts", "EngineStats"]


@dataclass(slots=True)
class EngineCounts:
    """What an engine has done.

    Attributes:
        finished: Requests that have ended, for whatever reason.
        prompt_tokens: Tokens of prompts that were read.
        cached_tokens: Tokens of prompts that were not read because of the prefix cache.
        prefix_hits: Prompts of which the prefix cache had a beginning.
        prefix_misses: Prompts of which it had none.
        completion_tokens: Tokens that were drawn.
        steps: Steps of the batch.
    """

    finished: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    prefix_hits: int = 0
    prefix_misses: int = 0
    completion_tokens: int = 0
    steps: int = 0

    def add_prompt(self, cached_tokens: int, *, is_cacheable: bool) -> None:
        """Count a prompt that was read, and how much of it the prefix cache had."""
        self.cached_tokens += cached_tokens
        if is_cacheable:
            self.prefix_hits += cached_tokens > 0
            self.prefix_misses += cached_tokens == 0


@dataclass(slots=True, kw_only=True)
class EngineStats(EngineCounts):
    """What an engine has done, and what it does now.

    Attributes:
        running: Requests that are read or answered now.
        waiting: Requests that wait for a slot, or whose media are being processed.
        free_slots: Requests that could start now.
        prefix_bytes: Bytes of states in the prefix cache.
    """

    running: int
    waiting: int
    free_slots: int
    prefix_bytes: int
