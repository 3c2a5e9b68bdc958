from __future__ import annotations
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from modrwkv_core.data.tokenizers.stream import Utf8Stream
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Piece:
    channel: Literal["content", "reasoning"]
    text: str


class AnswerText:
    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = (), reasoning: bool = False) -> None:
        self.tokenizer = tokenizer
        self.stopped: str | None = None
        self.stream = Utf8Stream()

    def feed(self, token: int) -> list[Piece]:
        with guard(self.tokenizer.origin, "decode()"):
            text = self.stream.feed(self.tokenizer.decode([token]))
        return [Piece("content", text)] if text else []

    def finish(self) -> list[Piece]:
        text = self.stream.finish()
        return [Piece("content", text)] if text else []
