"""Prompts of an engine: what is made of a request on the CPU, segment by segment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from modrwkv_core.data.batch import PlacedMedia
from modrwkv_core.data.recent_media import RecentMedia
from modrwkv_core.errors import DataError
from modrwkv_core.inference.prefix_hash import PrefixHash
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.model.multimodal import PREFILL_CHUNK

__all__ = ["Prompt", "PromptSegment"]

_FEW: Final = 64
"""So many tokens are read in one pass: two passes over parts of them take longer than what a cached state saves."""


@dataclass(frozen=True, slots=True)
class PromptSegment:
    """A part of the token stream of a request.

    Attributes:
        ids: ``[tokens]``, int64; at least one.
        media: In the order of their positions.
        boundaries: Numbers of tokens after which a medium has ended, or a turn that is not short, and that of all
            tokens at last.
        keys: By numbers of tokens, the keys of the states after them in the prefix cache: those of the boundaries, and
            of the places before the ends of turns, where answers that this model has given end. Empty if the states of
            the prompt are not cached.
        is_last: Whether the prompt ends with it.
    """

    ids: Tensor
    media: tuple[PlacedMedia, ...]
    boundaries: tuple[int, ...]
    keys: Mapping[int, str]
    is_last: bool


class Prompt:
    """The token stream of a request. Media are decoded when their segment is made, so that a film fits into memory.

    Args:
        session: The model.
        request: Asks for it.
        variant: What the bits of states depend on besides the model and the tokens, for the prefix cache; None caches
            no states. Those that follow a given state are never cached.
        recent: Media that need not be decoded again; None decodes each.

    Attributes:
        num_tokens: Tokens of the segments that were made so far.
        hash: Of these segments; None if their states are not cached.
    """

    def __init__(
        self, session: Session, request: Request, variant: str | None = None, recent: RecentMedia | None = None
    ) -> None:
        self.num_tokens = 0
        self.hash: PrefixHash | None = None
        self._session = session
        self._request = request
        self._variant = variant if request.state is None else None
        self._recent = recent
        self._segments = self._make()

    def next_segment(self) -> PromptSegment:
        """Decode, process and tokenize what follows.

        Raises:
            DataError: It cannot be read, or there is nothing to read.
        """
        return next(self._segments)

    def _make(self) -> Iterator[PromptSegment]:
        request, session = self._request, self._session
        if self._variant is not None:
            self.hash = PrefixHash(f"{session.model_digest}|{self._variant}")
        before = list(request.state.pending) if request.state is not None else []
        if request.prompt is not None:
            ids = before + self._plain(request.prompt)
            if not ids:
                raise DataError("the prompt is empty", hint="give at least one character to continue")
            yield self._segment(ids, (), is_last=True)
            return
        if before:  # an answer, which is a turn to be closed
            closing = session.model.template.closing(session.model.tokenizer)
            before = [token for token in before if token not in session.ends] + closing
        for segment in session.conversations.prompt_segments(request.turns, PREFILL_CHUNK, recent=self._recent):
            media = tuple(placed.shifted(len(before)) for placed in segment.media)
            yield self._segment(before + segment.ids.tolist(), media, segment.is_last)
            before = []

    def _plain(self, prompt: str | Sequence[int]) -> list[int]:
        if not isinstance(prompt, str):
            return list(prompt)
        tokenizer = self._session.model.tokenizer
        with guard(tokenizer.origin, "encode()"):
            return tokenizer.encode(prompt)

    def _segment(self, ids: list[int], media: tuple[PlacedMedia, ...], is_last: bool) -> PromptSegment:
        tokenizer = self._session.model.tokenizer
        closing = self._session.model.template.closing(tokenizer)
        media_end = tokenizer.special.media_end
        ends = [position + 1 for position, token in enumerate(ids) if token == media_end or token in closing]
        boundaries = [0]
        for end, following in pairwise([*ends, len(ids)]):
            if ids[end - 1] == media_end or following - boundaries[-1] > _FEW:
                boundaries.append(end)
        boundaries = [*boundaries[1:], *([] if boundaries[-1] == len(ids) else [len(ids)])]
        before_ends = {end - 1 for end in ends if end > 1 and ids[end - 1] in closing}
        tokens = torch.tensor(ids, dtype=torch.int64)
        keys = {} if self.hash is None else self.hash.read(tokens, media, {*boundaries, *before_ends})
        self.num_tokens += len(ids)
        return PromptSegment(tokens, media, tuple(boundaries), keys, is_last)
