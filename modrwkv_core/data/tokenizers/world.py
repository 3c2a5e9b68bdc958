"""The RWKV World vocabulary: 65,529 byte strings, greedy longest match.

Encoding is the work of PyPI ``pyrwkv-tokenizer``. Its decoder wants whole characters and aborts on ids outside of the
vocabulary, so decoding looks the bytes up in the vocabulary file that the same package ships.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from pyrwkv_tokenizer import RWKVTokenizer

from modrwkv_core.data.tokenizers.config import WorldConfig
from modrwkv_core.data.tokenizers.text import escape_control_characters
from modrwkv_core.interfaces.tokenizer import SpecialIds, Tokenizer

__all__ = ["WorldTokenizer"]


@cache
def _encoder() -> RWKVTokenizer:
    return RWKVTokenizer()


@cache
def _vocabulary() -> dict[int, bytes]:
    entries = {}
    with Path(_encoder().vocab_filepath).open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            index, rest = line.split(" ", 1)
            literal = ast.literal_eval(rest.rsplit(" ", 1)[0])
            entries[int(index)] = literal.encode() if isinstance(literal, str) else literal
    return entries


class WorldTokenizer(Tokenizer):
    """The tokenizer of all official RWKV-7 weights.

    The turn markers are the vocabulary's own bytes 0x16 and 0x17; the media markers stand after its end, at the ids
    of the published ModRWKV models, where the official embedding has unused rows.

    The vocabulary is shared by all instances of a process and never pickled.
    """

    special = SpecialIds(turn_start=23, turn_end=24, media_start=65530, media_end=65531, media_pad=65532, query=65533)

    def __init__(self, config: WorldConfig) -> None:
        self.vocab_size = config.vocab_size

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``.

        Raises:
            DataError: The text holds a lone surrogate.
        """
        return list(_encoder().encode(escape_control_characters(text)))

    def decode(self, ids: Iterable[int]) -> bytes:
        """Return the bytes of ``ids``; ids that stand for no text decode to nothing."""
        vocabulary, markers = _vocabulary(), self.special.all()
        return b"".join(vocabulary.get(index, b"") for index in ids if index not in markers)
