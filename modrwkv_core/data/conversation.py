"""Records to token streams: turns in a chat template, the places of media and queries, and what is supervised.

A medium is ``media_start``, one ``media_pad`` for each vector that it will become, and ``media_end``; the target of a
query head is one ``query``. Markers enter by id, between pieces of text that are tokenized apart, so that no text can
swallow or forge one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from numpy.random import Generator

from modrwkv_core.data.augmenting import Draw, SignalAugmenter
from modrwkv_core.data.batch import Sample
from modrwkv_core.data.error_context import error_context
from modrwkv_core.data.feature_cache import FeatureCache
from modrwkv_core.data.media_reader import MediaReader, describe
from modrwkv_core.data.recent_media import RecentMedia
from modrwkv_core.data.templates import MODRWKV, ChatTemplate
from modrwkv_core.data.token_stream import Segment, TokenStream
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.augmentation import LabeledSignal, Others
from modrwkv_core.interfaces.component import Query
from modrwkv_core.interfaces.config import HeadConfig, QueryHeadConfig, TokenHeadConfig, TranscriptHeadConfig
from modrwkv_core.interfaces.guard import Origin, guard
from modrwkv_core.interfaces.preprocessor import MediaPreprocessor
from modrwkv_core.interfaces.record import Media, Part, Record, Target, Text, Turn
from modrwkv_core.interfaces.tokenizer import Tokenizer
from modrwkv_core.interfaces.values import MediaItem

__all__ = ["DOCUMENT", "ConversationEncoder"]

DOCUMENT: Final = 0
"""The id between documents, which no text has."""

_SEGMENT_BYTES: Final = 32 * 2**20
"""Tensors of media that a segment of a prompt holds at most, except for the last medium."""


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
        self.media = MediaReader(preprocessors, caches or {})
        self.max_tokens = max_tokens
        self.heads = {name: config for name, config in heads.items() if isinstance(config, QueryHeadConfig)}
        of_words = TokenHeadConfig, TranscriptHeadConfig
        self.predicts_tokens = any(isinstance(config, of_words) for config in heads.values())

    @property
    def preprocessors(self) -> Mapping[str, MediaPreprocessor]:
        """What reads media, by modality."""
        return self.media.preprocessors

    def sample(self, record: Record, draw: Draw | None = None) -> Sample:
        """Encode ``record`` for training.

        Token heads are supervised by the words of assistant turns and the ends of those turns: not by their prefix,
        not by media, and not by the query token, which the program inserts. Query heads are supervised by targets.
        A plain text is supervised whole, between two ids 0 that separate documents.

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
            stream = TokenStream(record.key, draw)
            self._fill(stream, (self._write_text if record.plain else self._write)(stream, record.turns))
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
            if record.plain:
                return 2 + len(self._ids(_plain_text(record.turns)))
            count = 0
            for turn in record.turns:
                count += len(self.template.opening(turn.role, self.tokenizer)) + len(self._closing)
                for place, part in enumerate(turn.parts):
                    match part:
                        case Text(text):
                            count += len(self._text(text, turn, place))
                        case Media():
                            count += self._count(part)
                        case Target():
                            count += 1
            return count

    def _count(self, part: Media) -> int:
        """Count the tokens of a medium."""
        length = self.media.preprocessor(part.modality).encoder.fixed_length
        if length is not None:
            return 2 + self.media.out_length(part, length)
        count = 0
        for portion in self.media.parts(part, self.media.decode(part)):
            match portion:
                case Text(text):
                    count += len(self._ids(text))
                case Media():
                    count += 2 + self.media.out_length(portion, self.media.item(portion).length)
                case MediaItem():
                    count += 2 + self.media.out_length(part, portion.length)
        return count

    def prompt(self, turns: Sequence[Turn]) -> Sample:
        """Encode ``turns``, the last of which is the user's, and open the assistant's turn for a token head.

        Raises:
            DataError: The turns are not a conversation that this model can answer.
        """
        with error_context("prompt"):
            stream = TokenStream("prompt")
            self._fill(stream, self._write_prompt(stream, turns))
            stream.write(self.template.answer_opening(self.tokenizer))
            return self._finish(stream)

    def prompt_segments(
        self, turns: Sequence[Turn], max_tokens: int, *, think: bool = True, recent: RecentMedia | None = None
    ) -> Iterator[Segment]:
        """Encode as :meth:`prompt`, segment by segment: together, they are the prompt.

        Media are decoded when their segment is asked for, so that a film needs no more memory than a clip.

        Args:
            turns: In order; the last is the user's.
            max_tokens: A segment ends after the text or medium with which it has so many tokens, or with which its
                media fill 32 MiB.
            think: Whether the model thinks first if the chat template wants that.
            recent: Media that need not be decoded again, and where those go that are; None decodes each.

        Raises:
            DataError: The turns are not a conversation that this model can answer.
        """
        with error_context("prompt"):
            stream = TokenStream("prompt", recent=recent)
            for _ in self._write_prompt(stream, turns):
                if len(stream.ids) >= max_tokens or stream.media_bytes >= _SEGMENT_BYTES:
                    yield stream.take_segment()
            opening = self.template.answer_opening if think else partial(self.template.opening, "assistant")
            stream.write(opening(self.tokenizer))
            yield stream.take_segment(is_last=True)

    def answer(self, text: str, *, end: bool = True) -> list[int]:
        """Encode ``text`` as all that the assistant says in a turn, with the turn's end unless ``end`` is false."""
        return [*self._text(text, Turn("assistant", (Text(text),)), 0), *(self._closing if end else ())]

    def query(self, turns: Sequence[Turn], head: str | None = None) -> Sample:
        """Encode ``turns``, the last of which is the user's, and a query after them.

        Args:
            turns: In order.
            head: The head to ask; None asks the one head that answers queries about a signal of the turns.

        Raises:
            DataError: The turns are not a conversation that the head can answer, or several heads could.
        """
        with error_context("prompt"):
            stream = TokenStream("prompt")
            self._fill(stream, self._write_prompt(stream, turns))
            stream.write(self.template.opening("assistant", self.tokenizer))
            self._query(stream, Target(head, None))
            return self._finish(stream)

    def _write_prompt(self, stream: TokenStream, turns: Sequence[Turn]) -> Iterator[None]:
        if not turns or turns[-1].role != "user":
            raise DataError("the last turn is not the user's", hint="end the conversation with a question")
        yield from self._write(stream, turns)

    def _fill(self, stream: TokenStream, steps: Iterator[None]) -> None:
        """Write a stream to its end, or until it is too long and large: a long film would fill the memory."""
        for _ in steps:
            if stream.media_bytes > _SEGMENT_BYTES:
                self._check_length(stream, "tokens and goes on")

    def _finish(self, stream: TokenStream) -> Sample:
        self._check_length(stream, "tokens")
        return stream.sample()

    def _check_length(self, stream: TokenStream, tokens: str) -> None:
        if self.max_tokens is not None and len(stream.ids) > self.max_tokens:
            raise DataError(
                f"the conversation has {len(stream.ids)} {tokens}, more than the {self.max_tokens} allowed",
                hint="shorten it, compress its media more, or allow more tokens",
            )

    def _write(self, stream: TokenStream, turns: Sequence[Turn]) -> Iterator[None]:
        """Write turns; pause after each part, so that what has been written can be taken out."""
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
                        yield from self._medium(stream, part, parts[seen:])
                    case Target() if assistant:
                        self._query(stream, part)
                    case Target():
                        raise DataError(f"the {turn.role} gives a target; only the assistant can")
                    case _:
                        raise DataError(
                            f"a {type(part).__name__} is not a part of a turn",
                            hint="parts are Text, Media and Target; wrap an image or array in Media(modality, it)",
                        )
                yield
            stream.write(self._closing, supervised=assistant)

    def _write_text(self, stream: TokenStream, turns: Sequence[Turn]) -> Iterator[None]:
        stream.write([DOCUMENT])
        stream.write([*self._ids(_plain_text(turns)), DOCUMENT], supervised=True)
        yield

    def _text(self, text: str, turn: Turn, place: int) -> list[int]:
        return self._ids(self.template.text(text, first=place == 0, last=place == len(turn.parts) - 1))

    def _ids(self, text: str) -> list[int]:
        with guard(self.tokenizer.origin, "encode()"):
            return self.tokenizer.encode(text)

    def _medium(self, stream: TokenStream, part: Media, following: Sequence[Part]) -> Iterator[None]:
        augmenter = None if stream.draw is None else self.augmenters.get(part.modality)
        rng = None if augmenter is None or stream.draw is None else stream.draw.generator(len(stream.media))
        portions: Iterable[MediaItem | Text | Media]
        if augmenter is None or augmenter.is_identity:
            portions, stream.signals[part.modality] = self.media.unchanged(part, stream.recent)
        else:
            assert stream.draw is not None, "without a draw, there is no augmenter"
            assert rng is not None, "an augmenter draws"
            signal = self.media.decode(part)
            with error_context(describe(part)):
                sample = LabeledSignal(signal, self._targets_about(part.modality, following))
                sample = augmenter.augment(sample, rng, self._others(part.modality, stream.draw, rng))
            stream.signals[part.modality] = partial(_signal, sample)
            stream.targets[part.modality] = iter(sample.targets)
            portions = self.media.parts(part, sample.signal)
        special = self.tokenizer.special
        for portion in portions:
            match portion:
                case Text(text):
                    stream.write(self._ids(text))
                case Media():
                    item = self.media.item(portion)
                    stream.place(portion.modality, item, self.media.out_length(portion, item.length), special)
                case MediaItem():
                    seed = None
                    if augmenter is not None and rng is not None:
                        with error_context(describe(part)):
                            portion = augmenter.augment_item(portion, rng)
                        seed = int(rng.integers(2**63))
                    count = self.media.out_length(part, portion.length)
                    stream.place(part.modality, portion, count, special, seed)
            yield

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
                        signal = self.media.decode(part)
                    return LabeledSignal(signal, self._targets_about(modality, parts[place + 1 :]))
            return None

        return other

    def _query(self, stream: TokenStream, target: Target) -> None:
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

    def _only_head(self, stream: TokenStream) -> str:
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


def _signal(sample: LabeledSignal[Any]) -> Any:
    return sample.signal


def _plain_text(turns: Sequence[Turn]) -> str:
    parts = [part for turn in turns for part in turn.parts]
    text = "".join(part.text for part in parts if isinstance(part, Text))
    if not text or not all(isinstance(part, Text) for part in parts):
        raise DataError("a plain text holds words, and neither media nor targets")
    return text


def _check_order(turns: Sequence[Turn]) -> None:
    roles = [turn.role for turn in turns]
    talk = roles[1:] if roles[0] == "system" else roles
    if not talk or talk[0] != "user" or "system" in talk:
        raise DataError(
            f"the turns are out of order: {', '.join(roles)}",
            hint="begin with the user; only a system turn may come first, and no later",
        )
