"""The Tokenizer interface: text to ids, with markers that text can never forge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from modrwkv_core.interfaces.guard import Origin

__all__ = ["SpecialIds", "Tokenizer"]


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Ids that only the program inserts.

    Attributes:
        turn_start: Opens a turn (byte 0x16).
        turn_end: Closes a turn and ends generation (byte 0x17).
        media_start: Opens a media item.
        media_end: Closes a media item.
        media_pad: Stands for one feature vector of a media item.
        query: Asks a head other than the language model for its answer.
    """

    turn_start: int
    turn_end: int
    media_start: int
    media_end: int
    media_pad: int
    query: int

    def all(self) -> frozenset[int]:
        """Return the set of them."""
        return frozenset(getattr(self, name) for name in self.__slots__)


class Tokenizer(ABC):
    """Text to ids and back. Picklable.

    Attributes:
        origin: Who provides it, for errors; the core sets it.
    """

    origin: Origin | None = None
    special: SpecialIds
    vocab_size: int

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``; never a special id and never 0, whatever the text says."""

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> bytes:
        """Return the UTF-8 bytes of ``ids``; a stream may end within a character. Special ids decode to nothing."""
