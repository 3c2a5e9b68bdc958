"""Records: conversations with text, media and answers, before anything is decoded or tokenized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

__all__ = ["Media", "Part", "Record", "Role", "Target", "Text", "Turn"]

Role: TypeAlias = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Text:
    """Words of a turn."""

    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """A signal of a turn, not yet decoded.

    Attributes:
        modality: Its modality's name.
        media: What the modality decodes: a path, the bytes of a file, an array, or a signal.
    """

    modality: str
    media: Any


@dataclass(frozen=True, slots=True)
class Target:
    """What a query head should predict at this place.

    Attributes:
        head: The head's name; None stands for the one head that answers queries about a signal shown before.
        value: The prediction, in the form that the head's configuration takes; None asks for it.
    """

    head: str | None
    value: Any


Part: TypeAlias = Text | Media | Target


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation.

    Attributes:
        key: Names the record in errors: file and line, or whatever finds it again.
        turns: In order.
        annotations: What evaluation tasks know of it beyond its turns, by name: ``answers``, ``choices``, ...
        plain: Whether it is a plain text, the assistant's alone, that is learned without the chat template.
    """

    key: str
    turns: tuple[Turn, ...]
    annotations: Mapping[str, Any] = field(default_factory=dict)
    plain: bool = False
