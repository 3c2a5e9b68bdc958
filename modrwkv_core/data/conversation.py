"""Records to token streams: the chat template, the places of media and queries, and what is supervised.

A turn is ``turn_start``, its role (``User:``, ``Assistant:``, ``System:``), its content and ``turn_end``, as in the
published ModRWKV models. A medium is ``media_start``, one ``media_pad`` for each vector that it will become, and
``media_end``; an answer that another head than the language model gives is one ``query``. Markers enter by id, between
pieces of text that are tokenized apart, so that no text can swallow or forge one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from modrwkv_core.data.batch import IGNORE, PlacedMedia, Sample
from modrwkv_core.data.error_context import error_context
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Query
from modrwkv_core.interfaces.preprocessor import MediaPreprocessor
from modrwkv_core.interfaces.record import Media, Record, Role, Target, Text, Turn
from modrwkv_core.interfaces.tokenizer import Tokenizer

__all__ = ["ConversationEncoder"]

_PREFIXES: Final[dict[Role, str]] = {"system": "System:", "user": "User:", "assistant": "Assistant:"}


@dataclass(slots=True)
class _Stream:
    """A token stream while it is being written."""

    key: str
    ids: list[int] = field(default_factory=list)
    supervised: list[bool] = field(default_factory=list)
    media: list[PlacedMedia] = field(default_factory=list)
    queries: dict[str, list[Query]] = field(default_factory=dict)
    signal: Any = None

    def write(self, ids: Sequence[int], supervised: bool = False) -> None:
        self.ids.extend(ids)
        self.supervised.extend([supervised] * len(ids))

    def sample(self) -> Sample:
        ids = torch.tensor(self.ids, dtype=torch.int64)
        targets = torch.full_like(ids, IGNORE)
        targets[:-1] = torch.where(torch.tensor(self.supervised[1:], dtype=torch.bool), ids[1:], IGNORE)
        queries = {head: tuple(queries) for head, queries in self.queries.items()}
        return Sample(self.key, ids, targets, tuple(self.media), queries)


class ConversationEncoder:
    """Decodes, processes and tokenizes one conversation at a time. Picklable, for loader workers.

    Args:
        tokenizer: Text to ids.
        preprocessors: By modality.
        max_tokens: The longest stream; None sets no limit.
        heads: Names of the heads that answer queries: all but the language model.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        preprocessors: Mapping[str, MediaPreprocessor],
        max_tokens: int | None = None,
        heads: Collection[str] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.preprocessors = dict(preprocessors)
        self.max_tokens = max_tokens
        self.heads = tuple(heads)

    def sample(self, record: Record) -> Sample:
        """Encode ``record`` for training.

        Supervised are the words of assistant turns and the ends of those turns: not their prefix, not media, and not
        the query token, which the program inserts.

        Raises:
            DataError: The record is not a conversation that this model can learn from; the message begins with the
                record's key.
        """
        with error_context(record.key):
            if not any(turn.role == "assistant" for turn in record.turns):
                raise DataError("the assistant has no turn", hint="there is nothing to learn without an answer")
            stream = _Stream(record.key)
            self._write(stream, record.turns)
            if any(query.target is None for queries in stream.queries.values() for query in queries):
                raise DataError("an answer has no value", hint="give the true values; only prompts may leave them open")
            return self._finish(stream)

    def prompt(self, turns: Sequence[Turn], head: str | None = None) -> Sample:
        """Encode ``turns`` for inference and open the assistant's turn after them.

        Args:
            turns: In order; the last one is the user's.
            head: The head that shall answer, whose query then ends the stream; None lets the language model speak.

        Raises:
            DataError: The turns are not a conversation that this model can answer.
        """
        with error_context("prompt"):
            if not turns or turns[-1].role != "user":
                raise DataError("the last turn is not the user's", hint="end the conversation with a question")
            stream = _Stream("prompt")
            self._write(stream, turns)
            self._open(stream, "assistant")
            if head is not None:
                self._query(stream, Target(head, None))
            return self._finish(stream)

    def _finish(self, stream: _Stream) -> Sample:
        if self.max_tokens is not None and len(stream.ids) > self.max_tokens:
            raise DataError(
                f"the conversation has {len(stream.ids)} tokens, more than the {self.max_tokens} allowed",
                hint="shorten it, compress its media more, or allow more tokens",
            )
        return stream.sample()

    def _write(self, stream: _Stream, turns: Sequence[Turn]) -> None:
        _check_order(turns)
        for turn in turns:
            if not any(not isinstance(part, Text) or part.text.strip() for part in turn.parts):
                raise DataError(f"the {turn.role} says nothing in one turn", hint="drop the turn or give it words")
            assistant = turn.role == "assistant"
            self._open(stream, turn.role)
            for part in turn.parts:
                match part:
                    case Text(text):
                        stream.write(self.tokenizer.encode(text), supervised=assistant)
                    case Media():
                        self._medium(stream, part)
                    case Target() if assistant:
                        self._query(stream, part)
                    case Target():
                        raise DataError(
                            f"the {turn.role} gives an answer of the head {part.head}; only the assistant can"
                        )
                    case _:
                        raise DataError(
                            f"a {type(part).__name__} is not a part of a turn",
                            hint="parts are Text, Media and Target; wrap an image or array in Media(modality, it)",
                        )
            stream.write([self.tokenizer.special.turn_end], supervised=assistant)

    def _open(self, stream: _Stream, role: Role) -> None:
        stream.write([self.tokenizer.special.turn_start, *self.tokenizer.encode(_PREFIXES[role])])

    def _medium(self, stream: _Stream, part: Media) -> None:
        pipeline = self.preprocessors.get(part.modality)
        if pipeline is None:
            raise DataError(
                f"holds {part.modality}, but the model has these modalities: {', '.join(self.preprocessors) or 'none'}",
                hint=f"add modalities.{part.modality} to the manifest, or leave such records out",
            )
        origin = f"{part.modality} {part.media}" if isinstance(part.media, str | Path) else part.modality
        signal = pipeline.decode(part.media)
        with error_context(origin):
            item = pipeline.process(signal)
        count = pipeline.out_length(item.length)
        if count < 1:
            raise DataError(
                f"{origin} is too short: its length of {item.length} leaves the model nothing to read",
                hint="leave it out, or use an encoder or compressor with a smaller stride",
            )
        special = self.tokenizer.special
        position = len(stream.ids) + 1
        stream.write([special.media_start, *[special.media_pad] * count, special.media_end])
        stream.media.append(PlacedMedia(part.modality, item, position, count, stream.key))
        stream.signal = signal

    def _query(self, stream: _Stream, answer: Target) -> None:
        if answer.head not in self.heads:
            raise DataError(
                f"asks the head {answer.head}, but the model has these heads: {', '.join(self.heads) or 'none'}",
                hint=f"add heads.{answer.head} to the manifest",
            )
        if stream.signal is None:
            raise DataError(f"asks the head {answer.head} before any signal", hint="give the signal in a turn before")
        query = Query(len(stream.ids), stream.signal, answer.value)
        stream.queries.setdefault(answer.head, []).append(query)
        stream.write([self.tokenizer.special.query])


def _check_order(turns: Sequence[Turn]) -> None:
    roles = [turn.role for turn in turns]
    talk = roles[1:] if roles[0] == "system" else roles
    if not talk or talk[0] != "user" or "system" in talk:
        raise DataError(
            f"the turns are out of order: {', '.join(roles)}",
            hint="begin with the user; only a system turn may come first, and no later",
        )
