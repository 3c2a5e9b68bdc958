"""Prompts of an engine are read chunk by chunk.

T = tokens of a chunk, D = hidden size of the backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from modrwkv_core.data.batch import PlacedMedia
from modrwkv_core.inference.prefix_cache import PrefixCache
from modrwkv_core.inference.prompt import PromptSegment
from modrwkv_core.interfaces.state import State
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.model.splice import placed_features

__all__ = ["Prefill"]


class Prefill:
    """Reads a prompt, segment by segment and chunk by chunk.

    A chunk ends at each boundary of the prompt, and after ``chunk`` tokens from the boundary before: chunks, and so the
    state to the last bit, depend on nothing but the prompt. States at boundaries are put into the cache. Before the
    first chunk after one, the cache is asked, which another prompt may have filled meanwhile.

    Args:
        model: Reads it.
        chunk: Tokens of a chunk at most.
        state: What was read before; None begins anew.
        cache: States of the beginnings of prompts.

    Attributes:
        segment: What is read; None before the first.
        position: Tokens of the segment that were read.
        state: After these.
        hidden: The last hidden vector, ``[1, D]``; None before the first chunk.
        cached_tokens: Tokens of the prompt that were not read because the cache had the state after them.
    """

    def __init__(
        self, model: MultimodalModel, chunk: int, state: State | None = None, cache: PrefixCache | None = None
    ) -> None:
        self.segment: PromptSegment | None = None
        self.position = 0
        self.state = state
        self.hidden: Tensor | None = None
        self.cached_tokens = 0
        self._model = model
        self._chunk = chunk
        self._cache = cache
        self._rows: tuple[Tensor, Tensor | None] | None = None

    @property
    def needs_segment(self) -> bool:
        """Whether all that was given is read, and the prompt goes on."""
        return self.segment is None or (self.position == len(self.segment.ids) and not self.segment.is_last)

    @property
    def is_complete(self) -> bool:
        """Whether the whole prompt was read."""
        return self.segment is not None and self.segment.is_last and self.position == len(self.segment.ids)

    def begin(self, segment: PromptSegment) -> None:
        """Go on to the next segment."""
        assert self.needs_segment, "the segment before is not read yet"
        self.segment, self.position = segment, 0

    def advance(self) -> int:
        """Read the next chunk of the segment; return its number of tokens, 0 where the cache has all that is left."""
        segment = self.segment
        assert segment is not None, "no segment was given"
        if self._rows is None and self._cache is not None:
            self._skip(segment, self._cache)
            if self.position == len(segment.ids):
                return 0
        end = next(boundary for boundary in segment.boundaries if boundary > self.position)
        if self._rows is None:
            self._rows = _features(self._model, segment.media, self.position, end)
        index_N, rows_ND = self._rows
        stop = min(self.position + self._chunk, end)
        device = self._model.device
        chosen_N = (index_N >= self.position) & (index_N < stop)
        ids_1T = segment.ids[None, self.position : stop].to(device)
        rows = None if rows_ND is None else rows_ND[chosen_N.to(device)]
        self.hidden, self.state = self._model.prefill_chunk(ids_1T, index_N[chosen_N] - self.position, rows, self.state)
        tokens = stop - self.position
        self.position = stop
        if stop == end:
            self._rows = None
            if self._cache is not None and stop in segment.keys and not self.is_complete:
                self._cache.put(segment.keys[stop], self.state)
        return tokens

    def _skip(self, segment: PromptSegment, cache: PrefixCache) -> None:
        """Go on from the longest beginning whose state is known. The prompt's last token is read in any case."""
        stop = len(segment.ids) + (not segment.is_last)
        for position in sorted((each for each in segment.keys if self.position < each < stop), reverse=True):
            state = cache.get(segment.keys[position])
            if state is not None:
                self.cached_tokens += position - self.position
                # One that was read from the folder is on the CPU.
                self.position, self.state = position, state.to(self._model.device)
                return


def _features(
    model: MultimodalModel, media: Sequence[PlacedMedia], begin: int, end: int
) -> tuple[Tensor, Tensor | None]:
    """Return positions ``[N]`` and features ``[N, D]`` of the media that lie in ``[begin, end)``."""
    placed = [replace(one, item=one.item.to(model.device)) for one in media if begin <= one.position < end]
    positions: dict[str, list[Tensor]] = {}
    for one in placed:
        positions.setdefault(one.modality, []).append(torch.arange(one.position, one.position + one.count))
    return placed_features(
        placed, {name: torch.cat(each) for name, each in positions.items()}, model.media_features(placed)
    )
