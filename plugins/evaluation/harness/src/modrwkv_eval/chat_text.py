"""Conversations as one string, which lm-evaluation-harness passes between its parts.

A turn is the byte 0x16, the role, a colon, what is said, and the byte 0x17, as in the published ModRWKV models. The
string is no prompt: the model's own chat template makes tokens of the turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

from modrwkv_core.data.tokenizers.text import escape_control_characters
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Role, Text, Turn

__all__ = ["is_chat", "parse_chat", "render_chat"]

_START: Final = "\x16"
_END: Final = "\x17"
_ROLES: Final = ("system", "user", "assistant")


def render_chat(messages: Sequence[Mapping[str, str]], *, open_answer: bool) -> str:
    """Write a conversation as a string.

    Args:
        messages: Each with ``role`` and ``content``.
        open_answer: Whether a turn of the assistant is opened at the end. Otherwise the last message is the beginning
            of an answer.
    """
    turns = [f"{_START}{one['role']}:{escape_control_characters(one['content'])}" for one in messages]
    return _END.join([*turns, f"{_START}assistant:"] if open_answer else turns)


def is_chat(text: str) -> bool:
    """Say whether a string is a conversation."""
    return text.startswith(_START)


def parse_chat(text: str) -> tuple[tuple[Turn, ...], str]:
    """Read a conversation.

    Returns:
        Its turns, and the beginning of the answer to them, which may be empty.

    Raises:
        DataError: The conversation does not end with an answer that is open.
    """
    turns = []
    for piece in text.split(_END):
        role, colon, content = piece.removeprefix(_START).partition(":")
        if not piece.startswith(_START) or not colon or role not in _ROLES:
            raise DataError(f"{piece[:80]!r} is not a turn of a conversation", hint="apply the chat template to it")
        turns.append(Turn(cast(Role, role), (Text(content),)))
    *turns, answer = turns
    if answer.role != "assistant":
        raise DataError(
            f"the conversation ends with the {answer.role} and not with an answer",
            hint="let the task's chat template add a generation prompt",
        )
    return tuple(turns), "".join(part.text for part in answer.parts if isinstance(part, Text))
