"""The text of an answer that arrives token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from modrwkv_core.data.tokenizers.stream import Utf8Stream
from modrwkv_core.errors import ModRWKVError
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.tokenizer import Tokenizer

__all__ = ["AnswerText", "Piece"]

Channel = Literal["content", "reasoning"]

_END_OF_REASONING: Final = "</think>"


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of an answer, never empty.

    Attributes:
        channel: ``reasoning`` for what the model thinks before it answers, ``content`` for the answer itself.
        text: Whole characters.
    """

    channel: Channel
    text: str


class AnswerText:
    """Turns the tokens of an answer into text.

    Half a character is held back until its last byte has come, and what may be the beginning of a stop string or of the
    end of the reasoning until it is decided. The text does not depend on where tokens begin and end.

    Args:
        tokenizer: What the tokens belong to.
        stop: Strings that end the content. They and what follows them are no part of the answer, and they are not
            looked for in the reasoning.
        reasoning: Whether the prompt ends with ``<think``: the answer then goes on within that tag, and its content
            begins after ``</think>``. White space around the tags is dropped.
        leading_space: Whether white space stands before the content, as in templates that put a space between a role
            and what it says; it is dropped.

    Raises:
        ModRWKVError: A stop string is empty.
    """

    def __init__(
        self, tokenizer: Tokenizer, stop: Sequence[str] = (), reasoning: bool = False, *, leading_space: bool = False
    ) -> None:
        if "" in stop:
            raise ModRWKVError("a stop string is empty", hint="name text that ends the answer")
        self.stopped: str | None = None
        """The stop string that ended the answer, if one did."""
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._characters = Utf8Stream()
        self._channel: Channel = "reasoning" if reasoning else "content"
        self._tag_open = reasoning
        self._skip_space = leading_space
        self._held = ""

    def feed(self, token: int) -> list[Piece]:
        """Return the text that ``token`` decides; nothing once a stop string has come."""
        with guard(self._tokenizer.origin, "decode()"):
            piece = self._tokenizer.decode([token])
        return self._pieces(self._characters.feed(piece), final=False)

    def finish(self) -> list[Piece]:
        """Return what is still held back; the answer has no further token."""
        return self._pieces(self._characters.finish(), final=True)

    def _pieces(self, text: str, final: bool) -> list[Piece]:
        if self.stopped is not None:
            return []
        self._held += text
        pieces = []
        if self._channel == "reasoning":
            pieces += self._reasoning(final)
        if self._channel == "content":
            pieces += self._content(final)
        return pieces

    def _reasoning(self, final: bool) -> list[Piece]:
        if self._tag_open and self._held:
            self._held = self._held.removeprefix(">")
            self._tag_open, self._skip_space = False, True
        self._drop_space()
        reasoning, end, rest = self._held.partition(_END_OF_REASONING)
        if end:
            self._channel, self._held, self._skip_space = "content", rest, True
            reasoning = reasoning.rstrip()
        elif final:
            self._held = ""
        else:
            kept = len(reasoning.removesuffix(_beginning(reasoning, [_END_OF_REASONING])).rstrip())
            reasoning, self._held = reasoning[:kept], reasoning[kept:]
        return [Piece("reasoning", reasoning)] if reasoning else []

    def _content(self, final: bool) -> list[Piece]:
        self._drop_space()
        content = self._held
        found = [(place, stop) for stop in self._stop if (place := content.find(stop)) >= 0]
        if found:
            # The one that is complete first, wherever tokens begin and end.
            place, self.stopped = min(found, key=lambda one: (one[0] + len(one[1]), one[0]))
            content, self._held = content[:place], ""
        else:
            self._held = "" if final else _beginning(content, self._stop)
            content = content[: len(content) - len(self._held)]
        return [Piece("content", content)] if content else []

    def _drop_space(self) -> None:
        if self._skip_space:
            self._held = self._held.lstrip()
            self._skip_space = not self._held


def _beginning(text: str, strings: Sequence[str]) -> str:
    """Return the longest end of ``text`` with which one of ``strings`` begins, without being complete."""
    for length in range(min(len(text), max(map(len, strings), default=1) - 1), 0, -1):
        if any(string.startswith(text[-length:]) for string in strings):
            return text[-length:]
    return ""
