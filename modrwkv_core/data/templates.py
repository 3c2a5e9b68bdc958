"""Chat templates: how turns of a conversation become one stream of tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.record import Role
from modrwkv_core.interfaces.tokenizer import Tokenizer

__all__ = ["MODRWKV", "TEMPLATES", "ChatTemplate"]

_BLANK_LINE: Final = "\n\n"
_END_OF_DOCUMENT: Final = 0


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """How turns become tokens: a role, what it says, and an end.

    Attributes:
        markers: Whether a turn stands between the tokenizer's ``turn_start`` and ``turn_end``, directly behind its
            role, as in the published ModRWKV models. Otherwise a space stands between the role and what it says, and a
            blank line ends the turn, as in the data of RWKV's language models.
        thinks: Whether an answer begins with ``<think``, which makes a reasoning model think first. What it thought
            is no part of the turns that follow.
    """

    markers: bool
    thinks: bool = False

    def opening(self, role: Role, tokenizer: Tokenizer) -> list[int]:
        """Return what opens a turn."""
        ids = _encode(tokenizer, f"{role.title()}:")
        return [tokenizer.special.turn_start, *ids] if self.markers else ids

    def answer_opening(self, tokenizer: Tokenizer) -> list[int]:
        """Return what opens an answer of the model."""
        ids = self.opening("assistant", tokenizer)
        return [*ids, *_encode(tokenizer, " <think")] if self.thinks else ids

    def closing(self, tokenizer: Tokenizer) -> list[int]:
        """Return what closes a turn.

        Raises:
            ComponentError: The tokenizer has no token for what closes it.
        """
        return [tokenizer.special.turn_end] if self.markers else [_blank_line(tokenizer)]

    def text(self, text: str, *, first: bool, last: bool) -> str:
        """Return ``text`` as a turn holds it, where it is the turn's first or last part."""
        if self.markers:
            return text
        text = re.sub(r"\n{2,}", "\n", text.replace("\r\n", "\n"))
        text = f" {text.lstrip()}" if first else text
        return text.rstrip() if last else text

    def ends(self, tokenizer: Tokenizer) -> frozenset[int]:
        """Return the ids that end an answer.

        Raises:
            ComponentError: The tokenizer has no token for what closes a turn.
        """
        ends = frozenset(self.closing(tokenizer))
        return ends if self.markers else ends | {_END_OF_DOCUMENT}


def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    with guard(tokenizer.origin, "encode()"):
        return tokenizer.encode(text)


def _blank_line(tokenizer: Tokenizer) -> int:
    ids = _encode(tokenizer, _BLANK_LINE)
    if len(ids) != 1:
        raise ComponentError(
            f"the chat template ends turns with a blank line, which is not one token but {len(ids)}",
            component=None if tokenizer.origin is None else tokenizer.origin.component,
            hint="use the tokenizer world, or chat_template: modrwkv",
        )
    return ids[0]


MODRWKV: Final = ChatTemplate(markers=True)

TEMPLATES: Final[Mapping[str, ChatTemplate]] = {
    "modrwkv": MODRWKV,
    "world": ChatTemplate(markers=False),
    "g1": ChatTemplate(markers=False, thinks=True),
}
"""The chat templates by the names that manifests use."""
