"""Prompts of an engine: what is made of a request on the CPU, and its prefill chunk by chunk.

T = tokens of a chunk, D = hidden size of the backbone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from modrwkv_core.data.batch import PlacedMedia
from modrwkv_core.errors import DataError
from modrwkv_core.inference.prefix_cache import PrefixCache
from modrwkv_core.inference.prefix_hash import PrefixHash
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.state import State
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.model.splice import placed_features

__all__ = ["Prefill", "Prompt"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """The token stream of a request.

    Attributes:
        ids: ``[tokens]``, int64; at least one.
        media: In the order of their positions.
        boundaries: Numbers of tokens after which a turn or a medium has ended, and that of all tokens at last.
        keys: By numbers of tokens, the keys of the states after them in the prefix cache: those of the boundaries, and
            of the places before the ends of turns, where answers that this model has given end. Empty if the prompt
            follows a state.
        hash: Of the whole prompt; None if it follows a state.
    """

    ids: Tensor
    media: tuple[PlacedMedia, ...]
    boundaries: tuple[int, ...]
    keys: Mapping[int, str]
    hash: PrefixHash | None

    @classmethod
    def of(cls, session: Session, request: Request) -> Prompt:
        """Decode, process and tokenize what a request asks to be read after its state.

        Raises:
            DataError: It cannot be read, or there is nothing to read.
        """
        tokenizer = session.model.tokenizer
        closing = session.model.template.closing(tokenizer)
        before = list(request.state.pending) if request.state is not None else []
        media: tuple[PlacedMedia, ...] = ()
        if isinstance(request.prompt, str):
            with guard(tokenizer.origin, "encode()"):
                ids = tokenizer.encode(request.prompt)
        elif request.prompt is not None:
            ids = list(request.prompt)
        else:
            sample = session.conversations.prompt(request.turns)
            ids = sample.ids.tolist()
            if before:  # an answer, which is a turn to be closed
                before = [token for token in before if token not in session.ends] + closing
            media = tuple(placed.shifted(len(before)) for placed in sample.media)
        ids = before + ids
        if not ids:
            raise DataError("the prompt is empty", hint="give at least one character to continue")
        boundaries, before_ends = {len(ids)}, set()
        for position, token in enumerate(ids):
            if token == tokenizer.special.media_end or token in closing:
                boundaries.add(position + 1)
            if token in closing and position:
                before_ends.add(position)
        tokens = torch.tensor(ids, dtype=torch.int64)
        keys: dict[int, str] = {}
        prefix_hash = None
        if request.state is None:
            prefix_hash = PrefixHash(session.model_digest)
            keys = prefix_hash.read(tokens, media, boundaries | before_ends)
        return cls(tokens, media, tuple(sorted(boundaries)), keys, prefix_hash)


class Prefill:
    """Reads a prompt, chunk by chunk.

    A chunk ends at each boundary of the prompt, and after ``chunk`` tokens from the boundary before: chunks, and so the
    state to the last bit, depend on nothing but the prompt. States at boundaries are put into the cache. Before the
    first chunk after one, the cache is asked, which another prompt may have filled meanwhile.

    Args:
        model: Reads it.
        prompt: What to read.
        chunk: Tokens of a chunk at most.
        state: What was read before; None begins anew.
        cache: States of the beginnings of prompts.

    Attributes:
        position: Tokens of the prompt that were read.
        state: After these.
        hidden: The last hidden vector, ``[1, D]``; None before the first chunk.
        cached_tokens: Tokens of the prompt that were not read because the cache had the state after them.
    """

    def __init__(
        self,
        model: MultimodalModel,
        prompt: Prompt,
        chunk: int,
        state: State | None = None,
        cache: PrefixCache | None = None,
    ) -> None:
        self.prompt = prompt
        self.position = 0
        self.state = state
        self.hidden: Tensor | None = None
        self.cached_tokens = 0
        self._model = model
        self._chunk = chunk
        self._cache = cache
        self._rows: tuple[Tensor, Tensor | None] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the whole prompt was read."""
        return self.position == len(self.prompt.ids)

    def advance(self) -> int:
        """Read the next chunk and return its number of tokens."""
        device = self._model.device
        if self._rows is None and self._cache is not None:
            self._skip(self._cache)
        end = next(boundary for boundary in self.prompt.boundaries if boundary > self.position)
        if self._rows is None:
            self._rows = _features(self._model, self.prompt.media, self.position, end)
        index_N, rows_ND = self._rows
        stop = min(self.position + self._chunk, end)
        chosen_N = (index_N >= self.position) & (index_N < stop)
        ids_1T = self.prompt.ids[None, self.position : stop].to(device)
        rows = None if rows_ND is None else rows_ND[chosen_N.to(device)]
        self.hidden, self.state = self._model.prefill_chunk(ids_1T, index_N[chosen_N] - self.position, rows, self.state)
        tokens = stop - self.position
        self.position = stop
        if stop == end:
            self._rows = None
            if self._cache is not None and stop in self.prompt.keys and not self.is_complete:
                self._cache.put(self.prompt.keys[stop], self.state)
        return tokens

    def _skip(self, cache: PrefixCache) -> None:
        """Go on from the longest beginning whose state is known. The last token is read in any case."""
        ahead = [position for position in self.prompt.keys if self.position < position < len(self.prompt.ids)]
        for position in sorted(ahead, reverse=True):
            state = cache.get(self.prompt.keys[position])
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
