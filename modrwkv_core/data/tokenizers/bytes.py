"""One id for each byte of UTF-8: no vocabulary to learn, for small models."""

from __future__ import annotations

from collections.abc import Iterable

from modrwkv_core.data.tokenizers.config import BytesConfig
from modrwkv_core.data.tokenizers.text import escape_control_characters
from modrwkv_core.interfaces.tokenizer import SpecialIds, Tokenizer

__all__ = ["BytesTokenizer"]


class BytesTokenizer(Tokenizer):
    """Byte b is id b + 1, as in the World vocabulary, so that the turn markers are 23 and 24 in both; 0 is reserved."""

    special = SpecialIds(turn_start=23, turn_end=24, media_start=257, media_end=258, media_pad=259, query=260)

    def __init__(self, config: BytesConfig) -> None:
        self.vocab_size = config.vocab_size

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``.

        Raises:
            DataError: The text holds a lone surrogate.
        """
        return [byte + 1 for byte in escape_control_characters(text).encode()]

    def decode(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of ``ids``; ids that stand for no byte of text decode to nothing."""
        markers = self.special.all()
        return bytes(index - 1 for index in ids if 1 <= index <= 256 and index not in markers)
