"""A model that is asked.

B = conversations asked together, D = hidden size of the backbone, V = vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from modrwkv_core.data.batch import IGNORE, Sample
from modrwkv_core.data.conversation import DOCUMENT
from modrwkv_core.data.packing import pack
from modrwkv_core.errors import DataError
from modrwkv_core.inference.answer_text import AnswerText, Piece
from modrwkv_core.inference.forecasting import forecast_series
from modrwkv_core.inference.head_names import HeadNames
from modrwkv_core.inference.head_transcripts import head_transcripts
from modrwkv_core.inference.likelihood import continuation_likelihoods
from modrwkv_core.inference.prompts import prefill_segments
from modrwkv_core.inference.sampling import Sampling
from modrwkv_core.inference.snapshot import Snapshot, digest_of
from modrwkv_core.inference.token_generation import check_finite, generate_tokens
from modrwkv_core.interfaces.component import TokenHead
from modrwkv_core.interfaces.decoding import Decoder
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.likelihood import LogLikelihood
from modrwkv_core.interfaces.record import Media, Part, Text, Turn
from modrwkv_core.interfaces.state import State
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.model.assemble import conversation_encoder
from modrwkv_core.model.multimodal import PREFILL_CHUNK, MultimodalModel

if TYPE_CHECKING:
    from modrwkv_core.inference.constraint import Constraint, Constraints
    from modrwkv_core.inference.engine_settings import EngineSettings
    from modrwkv_core.inference.generation import Answer, Generation
    from modrwkv_core.inference.request import Request

__all__ = ["Session"]


class Session:
    """Answers questions about text, media and series with one model, as its weights are now.

    Args:
        loaded: The run's manifest.
        model: In eval mode, on its device, and on a GPU with weights of the type in which they are to answer.
        run: The run's folder.
        weights: How the backbone's weights are stored for answering; see
            :func:`~modrwkv_core.inference.loading.load`.
    """

    def __init__(self, loaded: LoadedManifest, model: MultimodalModel, run: Path, *, weights: str = "auto") -> None:
        self.loaded = loaded
        self.model = model
        self.run = run
        self.head_names = HeadNames(model, run)
        self.decoders: dict[str, Decoder] = {}
        """What continues answers, by token head; made when a head is first asked."""
        self._weights = weights
        if len(model.token_heads()) == 1:
            self.token_head(None)  # so that weights that cannot be stored are refused now
        elif weights != "auto":
            with guard(model.backbone.origin, "decoder()"):
                model.backbone.decoder(weights)  # for the same reason; each head packs the weights when it is asked
        self.conversations = conversation_encoder(model, max_tokens=None)
        self.ends = model.template.ends(model.tokenizer)
        special = model.tokenizer.special
        self.banned = torch.tensor(sorted(({0} | special.all()) - self.ends), device=model.device)
        self.ends_of_text = frozenset({0, special.turn_end})
        """The ids that end a text which is continued without the chat template."""
        self.banned_in_text = torch.tensor(sorted(special.all() - self.ends_of_text), device=model.device)

    def generate(
        self,
        parts: Sequence[Part | str] | str,
        *,
        max_tokens: int = 256,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        constraint: Constraint | None = None,
        head: str | None = None,
    ) -> str:
        """Answer one user turn.

        Args:
            parts: Texts (plain strings) and media (:class:`~modrwkv_core.interfaces.record.Media`), in order.
            max_tokens: Stop after this many tokens.
            sampling: How tokens are drawn; by default greedily.
            stop: Strings that end the answer, which does not hold them.
            constraint: What the answer must be, as :attr:`constraints` makes it; it may serve any number of answers.
            head: Name of the token head that answers; None takes the only one.

        Returns:
            The answer, without what a reasoning model thinks before it.

        Raises:
            ModRWKVError: The model has no token head, or several and none was named; the constraint allows no token of
                the model's vocabulary.
            DataError: A medium cannot be read, its modality is not the model's, or the text names one not given.
        """
        return "".join(
            self.stream(parts, max_tokens=max_tokens, sampling=sampling, stop=stop, constraint=constraint, head=head)
        )

    def stream(
        self,
        parts: Sequence[Part | str] | str,
        *,
        max_tokens: int = 256,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        constraint: Constraint | None = None,
        head: str | None = None,
    ) -> Iterator[str]:
        """Answer one user turn piece by piece, as :meth:`generate` does; memory does not grow with the answer."""
        text = self.answer_text(stop)
        for drawn in generate_tokens(self, [_user_turn(parts)], max_tokens, sampling or Sampling(), head, constraint):
            token = drawn[0]
            if token in self.ends:
                break
            yield from _content(text.feed(token))
            if text.stopped is not None:
                return
        yield from _content(text.finish())

    def generate_batch(self, requests: Iterable[Request], settings: EngineSettings | None = None) -> list[Answer]:
        """Answer any number of requests in an engine, as many at a time as it has slots.

        Args:
            requests: What is asked; taken as there is room in the engine's queue.
            settings: Of the engine.

        Returns:
            An answer for each request.

        Raises:
            ModRWKVError: A request cannot be answered; the others are cancelled.
        """
        from modrwkv_core.inference.engine import Engine
        from modrwkv_core.inference.engine_settings import EngineSettings

        settings = settings or EngineSettings()
        answers: list[Answer] = []
        waiting: deque[Generation] = deque()
        with Engine(self, settings) as engine:
            for request in requests:
                if len(waiting) == settings.queue:
                    answers.append(waiting.popleft().result())
                waiting.append(engine.submit(request))
            answers += [generation.result() for generation in waiting]
        return answers

    def answer(self, conversations: Sequence[Sequence[Turn]], max_tokens: int, head: str | None = None) -> list[str]:
        """Answer the last user turn of each conversation greedily, all of them together; see :meth:`generate`.

        A transcript head answers with the words of the last medium that it transcribes, however many they are.
        """
        if head in self.model.transcript_heads():
            return [found.text for found in head_transcripts(self, conversations, head)]
        texts = [self.answer_text() for _ in conversations]
        answers: list[list[str]] = [[] for _ in conversations]
        for drawn in generate_tokens(self, conversations, max_tokens, Sampling(), head):
            for index, token in drawn.items():
                if token not in self.ends:
                    answers[index].extend(_content(texts[index].feed(token)))
        return ["".join([*answer, *_content(text.finish())]) for answer, text in zip(answers, texts, strict=True)]

    def transcribe(self, media: Media, *, prompt: str = "", max_tokens: int = 448, head: str | None = None) -> str:
        """Write down what is said in a medium.

        Args:
            media: Of any modality, such as ``Media("audio", "talk.wav")``.
            prompt: What the user says after it, as in training; a transcript head does not read it.
            max_tokens: Longest text that a token head writes; that of a transcript head is as long as it is.
            head: Name of a transcript head of the modality, or of a token head. None takes the only transcript head of
                the modality, or where there is none, the only token head.

        Raises:
            ModRWKVError: The model has no such head, or several and none was named.
            DataError: The medium cannot be read, or its modality is not the model's.
        """
        name = self.head_names.transcription(media.modality, head)
        if name in self.model.transcript_heads():
            return self.answer([_user_turn([media])], max_tokens, name)[0]
        return self.generate([media, prompt] if prompt else [media], max_tokens=max_tokens, head=name)

    @cached_property
    def constraints(self) -> Constraints:
        """Makes constraints of this model's answers.

        Raises:
            ModRWKVError: The extra ``modrwkv[grammar]`` is not installed.
        """
        from modrwkv_core.inference.constraint import Constraints

        template = self.model.template
        return Constraints(
            self.model.tokenizer, self.ends, reasoning=template.thinks, leading_space=not template.markers
        )

    def answer_text(self, stop: Sequence[str] = ()) -> AnswerText:
        """Return what turns the tokens of an answer into text, as the chat template has it."""
        template = self.model.template
        return AnswerText(self.model.tokenizer, stop, template.thinks, leading_space=not template.markers)

    def log_likelihoods(
        self,
        conversations: Sequence[Sequence[Turn]],
        texts: Sequence[str],
        head: str | None = None,
        *,
        chat: bool = True,
        end: bool = True,
    ) -> list[LogLikelihood]:
        """Return how likely each text is after its conversation.

        Args:
            conversations: One for each text; one that stands several times is read once.
            texts: Each is the assistant's whole turn. Without the chat template, it goes on from where the
                conversation's text ends.
            head: Name of the token head; None takes the only one.
            chat: Whether the chat template is used. Otherwise a conversation is the text of its turns, from the
                beginning of a text, for which the id 0 stands as in the training of the RWKV-7 models; it may be empty.
            end: Whether the end of the assistant's turn is scored too.

        Raises:
            ModRWKVError: The model has no token head, or several and none was named.
            DataError: A conversation cannot be read, or a text is empty.
        """
        if not all(texts):
            raise DataError("an empty text has no likelihood", hint="leave empty texts out")
        encode = partial(self.conversations.answer, end=end) if chat else self._encode
        distinct = {id(turns): turns for turns in conversations}
        prompts = [
            self.conversations.prompt_segments(turns, PREFILL_CHUNK, think=False)
            if chat
            else _token_segments(self._plain(turns))
            for turns in distinct.values()
        ]
        places = {name: place for place, name in enumerate(distinct)}
        rows = [places[id(turns)] for turns in conversations]
        return self._likelihoods(prompts, rows, [encode(text) for text in texts], head)

    def token_log_likelihoods(
        self, contexts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], head: str | None = None
    ) -> list[LogLikelihood]:
        """Return how likely the tokens of each continuation are after those of its context, without the chat template.

        Args:
            contexts: Ids, one list for each continuation; equal ones are read once.
            continuations: Ids.
            head: Name of the token head; None takes the only one.

        Raises:
            ModRWKVError: The model has no token head, or several and none was named.
            DataError: A context or a continuation is empty.
        """
        if not all(map(len, contexts)) or not all(map(len, continuations)):
            raise DataError("an empty context or continuation has no likelihood", hint="begin contexts with the id 0")
        keys = [tuple(ids) for ids in contexts]
        places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        return self._likelihoods(list(map(_token_segments, places)), [places[key] for key in keys], continuations, head)

    def _likelihoods(
        self, prompts: Sequence[Iterator[Sample]], rows: Sequence[int], texts: Sequence[Sequence[int]], head: str | None
    ) -> list[LogLikelihood]:
        token_head = self.token_head(head)[0]
        if not texts:
            return []
        logits_BV, state = self._prefill(prompts, head)
        check_finite(logits_BV, self)
        return continuation_likelihoods(
            self.model.backbone, token_head, logits_BV[list(rows)], state.select(list(rows)), texts
        )

    def _plain(self, turns: Sequence[Turn]) -> list[int]:
        parts = [part for turn in turns for part in turn.parts]
        if not all(isinstance(part, Text) for part in parts):
            raise DataError("plain text holds no media and no targets", hint="score it with the chat template")
        return [DOCUMENT, *self._encode("".join(part.text for part in parts if isinstance(part, Text)))]

    def _encode(self, text: str) -> list[int]:
        with guard(self.model.tokenizer.origin, "encode()"):
            return self.model.tokenizer.encode(text)

    def predict(self, conversations: Sequence[Sequence[Turn]], head: str | None = None) -> list[Any]:
        """Ask a query head at the end of each conversation, all of them together.

        Args:
            conversations: Each ends with the user's turn.
            head: The head's name; None asks the one head that answers queries about a signal of the conversation.

        Returns:
            The head's prediction for each conversation.

        Raises:
            DataError: A conversation cannot be read, or no head, or more than one, answers queries about its signals.
        """
        samples = [self.conversations.query(turns, head) for turns in conversations]
        with torch.inference_mode():
            predictions = self.model.predict(pack(samples))
        answers = {name: iter(answered) for name, answered in predictions.items()}
        return [next(answers[name]) for sample in samples for name in sample.queries]

    def forecast(self, series: Any, horizon: int, head: str | None = None) -> Forecast:
        """Continue a series.

        Args:
            series: What the ``series`` modality decodes: a CSV file's path, an array ``[points]`` or
                ``[points, channels]``, ... A head of one channel continues every column by itself.
            horizon: Points to forecast. Beyond the head's own horizon its forecast is read as if it had been measured,
                and quantiles do not widen for the errors that it may have.
            head: Name of the forecast head; None takes the only one.

        Returns:
            Points ``[horizon, channels]`` in the units of the input, and the quantiles that the head gives. Where NumPy
            expects an array, it counts as its points.

        Raises:
            DataError: The series cannot be read or is too short.
            ModRWKVError: The model has no forecast head, or several and none was named.
        """
        return self.forecast_all([(Turn("user", (Media("series", series),)),)], horizon, head)[0]

    def forecast_all(
        self, conversations: Sequence[Sequence[Turn]], horizon: int, head: str | None = None
    ) -> list[Forecast]:
        """Continue the latest series of each conversation, all of them together; see :meth:`forecast`."""
        name = self.head_names.forecast(head)
        return forecast_series(self.model, self.conversations, conversations, horizon, name)

    def token_head(self, head: str | None) -> tuple[TokenHead[Any], Decoder]:
        """Return the token head of this name, or the only one, and what continues its answers.

        Raises:
            ModRWKVError: The model has no token head, or several and none was named.
        """
        heads = self.model.token_heads()
        name = self.head_names.token(head)
        if name not in self.decoders:
            self.decoders[name] = heads[name].decoder(self._weights)
        return heads[name], self.decoders[name]

    @cached_property
    def model_digest(self) -> str:
        """The model's name and a digest of its weights, by which its states are known."""
        return digest_of(self.loaded.manifest.name, self.model)

    def load_snapshot(self, path: Path | str) -> Snapshot:
        """Read a conversation's state that was saved, to go on from.

        Raises:
            CheckpointError: The file is missing, damaged, no snapshot, or another model's.
        """
        return Snapshot.load(path, type(self.model.backbone.init_state(1)), self.model_digest)

    def prefill(self, conversations: Sequence[Sequence[Turn]], head: str | None = None) -> tuple[Tensor, State]:
        """Read conversations and open the assistant's turn.

        Returns:
            Logits of the first token of each answer ``[B, V]``, and the state of the conversations, which can be
            forked, saved and gone on from.
        """
        return self._prefill(
            [self.conversations.prompt_segments(turns, PREFILL_CHUNK) for turns in conversations], head
        )

    def _prefill(self, prompts: Sequence[Iterator[Sample]], head: str | None) -> tuple[Tensor, State]:
        with torch.inference_mode():
            last, state = prefill_segments(self.model, prompts)
            token_head = self.token_head(head)[0]
            with guard(token_head.origin, "predict()"):
                return token_head.predict(last), state


def _token_segments(ids: Sequence[int]) -> Iterator[Sample]:
    for start in range(0, len(ids), PREFILL_CHUNK):
        chunk = torch.tensor(ids[start : start + PREFILL_CHUNK])
        yield Sample("text", chunk, torch.full_like(chunk, IGNORE), (), {})


def _content(pieces: Sequence[Piece]) -> Iterator[str]:
    return (piece.text for piece in pieces if piece.channel == "content")


def _user_turn(parts: Sequence[Part | str] | str) -> tuple[Turn]:
    if isinstance(parts, str):
        parts = [parts]
    return (Turn("user", tuple(Text(part) if isinstance(part, str) else part for part in parts)),)
