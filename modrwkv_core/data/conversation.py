"""Records to token streams: turns in a chat template, the places of media and queries, and what is supervised.

A medium is ``media_start``, one ``media_pad`` for each vector that it will become, and ``media_end``; the target of a
query head is one ``query``. Markers enter by id, between pieces of text that are tokenized apart, so that no text can
swallow or forge one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.random import Generator

from modrwkv_core.data.augmenting import Draw, SignalAugmenter
from modrwkv_core.data.batch import IGNORE, PlacedMedia, Sample
from modrwkv_core.data.error_context import error_context
from modrwkv_core.data.feature_cache import CacheableItem, FeatureCache
from modrwkv_core.data.templates import MODRWKV, ChatTemplate
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.augmentation import LabeledSignal, Others
from modrwkv_core.interfaces.component import Query
from modrwkv_core.interfaces.config import HeadConfig, QueryHeadConfig, TokenHeadConfig
from modrwkv_core.interfaces.guard import Origin, guard
from modrwkv_core.interfaces.preprocessor import MediaPreprocessor
from modrwkv_core.interfaces.record import Media, Part, Record, Target, Text, Turn
from modrwkv_core.interfaces.tokenizer import Tokenizer
from modrwkv_core.interfaces.values import MediaItem

__all__ = ["ConversationEncoder"]


@dataclass(slots=True)
class _Stream:
    """A token stream while it is being written."""

    key: str
    draw: Draw | None = None
    ids: list[int] = field(default_factory=list)
    supervised: list[bool] = field(default_factory=list)
    media: list[PlacedMedia] = field(default_factory=list)
    queries: dict[str, list[Query]] = field(default_factory=dict)
    signals: dict[str, Callable[[], Any]] = field(default_factory=dict)
    targets: dict[str, Iterator[Any]] = field(default_factory=dict)

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
        heads: Configurations of the model's heads by name.
        max_tokens: The longest stream; None sets no limit.
        origins: Who provides the heads, by name, for errors.
        augmenters: By modality, what augments the signals of training samples.
        caches: By modality, features of its encoder, with which media are not decoded.
        template: How turns become tokens.

    Raises:
        ComponentError: The template needs a token that the tokenizer does not have.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        preprocessors: Mapping[str, MediaPreprocessor],
        heads: Mapping[str, HeadConfig],
        max_tokens: int | None = None,
        origins: Mapping[str, Origin | None] | None = None,
        augmenters: Mapping[str, SignalAugmenter] | None = None,
        caches: Mapping[str, FeatureCache] | None = None,
        template: ChatTemplate = MODRWKV,
    ) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self._closing = template.closing(tokenizer)
        self.origins = dict(origins or {})
        self.augmenters = dict(augmenters or {})
        self.caches = dict(caches or {})
        self.preprocessors = dict(preprocessors)
        self.max_tokens = max_tokens
        self.heads = {name: config for name, config in heads.items() if isinstance(config, QueryHeadConfig)}
        self.predicts_tokens = any(isinstance(config, TokenHeadConfig) for config in heads.values())

    def sample(self, record: Record, draw: Draw | None = None) -> Sample:
        """Encode ``record`` for training.

        Token heads are supervised by the words of assistant turns and the ends of those turns: not by their prefix,
        not by media, and not by the query token, which the program inserts. Query heads are supervised by targets.

        Args:
            record: The conversation.
            draw: Its randomness, by which its media are augmented; None augments nothing.

        Raises:
            DataError: The record is not a conversation that this model can learn from; the message begins with the
                record's key.
        """
        with error_context(record.key):
            if not any(turn.role == "assistant" for turn in record.turns):
                raise DataError("the assistant has no turn", hint="there is nothing to learn without an answer")
            stream = _Stream(record.key, draw)
            self._write(stream, record.turns)
            if any(query.target is None for queries in stream.queries.values() for query in queries):
                raise DataError("a target has no value", hint="give the true value; only prompts may leave it open")
            if not self.predicts_tokens and not stream.queries:
                raise DataError(
                    "no head of the model learns from this conversation",
                    hint="give it a target, or add a head that predicts tokens (heads: {lm: {type: lm}})",
                )
            return self._finish(stream)

    def num_tokens(self, record: Record) -> int:
        """Count the tokens that :meth:`sample` makes of ``record`` without augmentations.

        Media are decoded only if their length depends on the signal; what else is wrong with a record, only
        :meth:`sample` finds.

        Raises:
            DataError: The record cannot be counted; the message begins with its key.
        """
        with error_context(record.key):
            count = 0
            for turn in record.turns:
                count += len(self.template.opening(turn.role, self.tokenizer)) + len(self._closing)
                for place, part in enumerate(turn.parts):
                    match part:
                        case Text(text):
                            count += len(self._text(text, turn, place))
                        case Media():
                            count += 2 + self._count(part)
                        case Target():
                            count += 1
            return count

    def _count(self, part: Media) -> int:
        """Count the vectors of a medium."""
        preprocessor = self._preprocessor(part.modality)
        length = preprocessor.encoder.fixed_length
        if length is None:
            with error_context(_origin(part)):
                length = preprocessor.process(preprocessor.decode(part.media)).length
        return self._out_length(part, preprocessor, length)

    def prompt(self, turns: Sequence[Turn]) -> Sample:
        """Encode ``turns``, the last of which is the user's, and open the assistant's turn for a token head.

        Raises:
            DataError: The turns are not a conversation that this model can answer.
        """
        with error_context("prompt"):
            stream = self._prompt(turns)
            stream.write(self.template.answer_opening(self.tokenizer))
            return self._finish(stream)

    def query(self, turns: Sequence[Turn], head: str | None = None) -> Sample:
        """Encode ``turns``, the last of which is the user's, and a query after them.

        Args:
            turns: In order.
            head: The head to ask; None asks the one head that answers queries about a signal of the turns.

        Raises:
            DataError: The turns are not a conversation that the head can answer, or several heads could.
        """
        with error_context("prompt"):
            stream = self._prompt(turns)
            stream.write(self.template.opening("assistant", self.tokenizer))
            self._query(stream, Target(head, None))
            return self._finish(stream)

    def _prompt(self, turns: Sequence[Turn]) -> _Stream:
        if not turns or turns[-1].role != "user":
            raise DataError("the last turn is not the user's", hint="end the conversation with a question")
        stream = _Stream("prompt")
        self._write(stream, turns)
        return stream

    def _finish(self, stream: _Stream) -> Sample:
        if self.max_tokens is not None and len(stream.ids) > self.max_tokens:
            raise DataError(
                f"the conversation has {len(stream.ids)} tokens, more than the {self.max_tokens} allowed",
                hint="shorten it, compress its media more, or allow more tokens",
            )
        return stream.sample()

    def _write(self, stream: _Stream, turns: Sequence[Turn]) -> None:
        _check_order(turns)
        parts = [part for turn in turns for part in turn.parts]
        seen = 0
        for turn in turns:
            if not any(not isinstance(part, Text) or part.text.strip() for part in turn.parts):
                raise DataError(f"the {turn.role} says nothing in one turn", hint="drop the turn or give it words")
            assistant = turn.role == "assistant"
            stream.write(self.template.opening(turn.role, self.tokenizer))
            for place, part in enumerate(turn.parts):
                seen += 1
                match part:
                    case Text(text):
                        stream.write(self._text(text, turn, place), supervised=assistant)
                    case Media():
                        self._medium(stream, part, parts[seen:])
                    case Target() if assistant:
                        self._query(stream, part)
                    case Target():
                        raise DataError(f"the {turn.role} gives a target; only the assistant can")
                    case _:
                        raise DataError(
                            f"a {type(part).__name__} is not a part of a turn",
                            hint="parts are Text, Media and Target; wrap an image or array in Media(modality, it)",
                        )
            stream.write(self._closing, supervised=assistant)

    def _text(self, text: str, turn: Turn, place: int) -> list[int]:
        text = self.template.text(text, first=place == 0, last=place == len(turn.parts) - 1)
        with guard(self.tokenizer.origin, "encode()"):
            return self.tokenizer.encode(text)

    def _medium(self, stream: _Stream, part: Media, following: Sequence[Part]) -> None:
        pipeline = self._preprocessor(part.modality)
        augmenter = None if stream.draw is None else self.augmenters.get(part.modality)
        seed: int | None = None
        if augmenter is None or augmenter.is_identity:
            item, stream.signals[part.modality] = self._item(part, pipeline)
            if augmenter is not None and stream.draw is not None:
                seed = int(stream.draw.generator(len(stream.media)).integers(2**63))
        else:
            assert stream.draw is not None, "without a draw, there is no augmenter"
            signal = pipeline.decode(part.media)
            with error_context(_origin(part)):
                rng = stream.draw.generator(len(stream.media))
                sample = LabeledSignal(signal, self._targets_about(part.modality, following))
                sample = augmenter.augment(sample, rng, self._others(part.modality, stream.draw, rng))
                stream.signals[part.modality] = partial(_identity, sample.signal)
                stream.targets[part.modality] = iter(sample.targets)
                item = augmenter.augment_item(pipeline.process(sample.signal), rng)
                seed = int(rng.integers(2**63))
        count = self._out_length(part, pipeline, item.length)
        special = self.tokenizer.special
        position = len(stream.ids) + 1
        stream.write([special.media_start, *[special.media_pad] * count, special.media_end])
        stream.media.append(PlacedMedia(part.modality, item, position, count, stream.key, seed))

    def _item(self, part: Media, preprocessor: MediaPreprocessor) -> tuple[MediaItem, Callable[[], Any]]:
        """Return a medium as it is, with its features if they are cached, and what gives its signal."""
        cache = self.caches.get(part.modality)
        digest = None if cache is None else cache.digest(part.media)
        if cache is not None and digest is not None and (cached := cache.read(digest)) is not None:
            return cached, partial(preprocessor.decode, part.media)
        signal = preprocessor.decode(part.media)
        with error_context(_origin(part)):
            item = preprocessor.process(signal)
        if digest is not None:
            item = CacheableItem(item.tensors, item.length, digest)
        return item, partial(_identity, signal)

    def _preprocessor(self, modality: str) -> MediaPreprocessor:
        if modality not in self.preprocessors:
            raise DataError(
                f"holds {modality}, but the model has these modalities: {', '.join(self.preprocessors) or 'none'}",
                hint=f"add modalities.{modality} to the manifest, or leave such records out",
            )
        return self.preprocessors[modality]

    def _out_length(self, part: Media, preprocessor: MediaPreprocessor, length: int) -> int:
        count = preprocessor.out_length(length)
        if count < 1:
            raise DataError(
                f"{_origin(part)} is too short: its length of {length} leaves the model nothing to read",
                hint="leave it out, or use an encoder or compressor with a smaller stride",
            )
        return count

    def _targets_about(self, modality: str, following: Sequence[Part]) -> tuple[Any, ...]:
        """Return the values of the targets about a signal that ``following`` comes after."""
        values = []
        for part in following:
            if isinstance(part, Media) and part.modality == modality:
                break
            if isinstance(part, Target):
                names = self.heads if part.head is None else [part.head]
                if any(name in self.heads and self.heads[name].modality == modality for name in names):
                    values.append(part.value)
        return tuple(values)

    def _others(self, modality: str, draw: Draw, rng: Generator) -> Others:
        def other() -> LabeledSignal[Any] | None:
            record = draw.source[int(rng.integers(len(draw.source)))]
            parts = [part for turn in record.turns for part in turn.parts]
            for place, part in enumerate(parts):
                if isinstance(part, Media) and part.modality == modality:
                    with error_context(record.key):
                        signal = self.preprocessors[modality].decode(part.media)
                    return LabeledSignal(signal, self._targets_about(modality, parts[place + 1 :]))
            return None

        return other

    def _query(self, stream: _Stream, target: Target) -> None:
        name = target.head if target.head is not None else self._only_head(stream)
        config = self.heads.get(name)
        if config is None:
            raise DataError(
                f"asks the head {name}, but these heads of the model answer queries: {', '.join(self.heads) or 'none'}",
                hint=f"add heads.{name} to the manifest, or ask another head",
            )
        if config.modality not in stream.signals:
            raise DataError(
                f"asks the head {name} before any {config.modality}",
                hint=f"give the {config.modality} in a turn before",
            )
        augmented = stream.targets.get(config.modality)
        value = target.value if augmented is None else next(augmented)
        with error_context(f"heads.{name}"), guard(self.origins.get(name), "prepare()"):
            signal, value = config.prepare(stream.signals[config.modality](), value)
        stream.queries.setdefault(name, []).append(Query(len(stream.ids), signal, value))
        stream.write([self.tokenizer.special.query])

    def _only_head(self, stream: _Stream) -> str:
        """Return the name of the one head that can be asked about the signals so far."""
        fitting = [name for name, config in self.heads.items() if config.modality in stream.signals]
        if len(fitting) == 1:
            return fitting[0]
        shown = ", ".join(stream.signals) or "no signal"
        if not fitting:
            answering = ", ".join(f"{name} ({config.modality})" for name, config in self.heads.items())
            raise DataError(
                f"asks about {shown}, but these heads of the model answer queries: {answering or 'none'}",
                hint="show a signal that a head answers queries about, or add a head to the manifest",
            )
        raise DataError(
            f"asks about {shown} without naming a head; these could answer: {', '.join(fitting)}",
            hint="name one of them as the `head`",
        )


def _identity(signal: Any) -> Any:
    return signal


def _origin(part: Media) -> str:
    return f"{part.modality} {part.media}" if isinstance(part.media, str | Path) else part.modality


def _check_order(turns: Sequence[Turn]) -> None:
    roles = [turn.role for turn in turns]
    talk = roles[1:] if roles[0] == "system" else roles
    if not talk or talk[0] != "user" or "system" in talk:
        raise DataError(
            f"the turns are out of order: {', '.join(roles)}",
            hint="begin with the user; only a system turn may come first, and no later",
        )
