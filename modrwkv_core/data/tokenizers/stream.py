"""Text from UTF-8 that arrives token by token."""

from __future__ import annotations

import codecs

__all__ = ["Utf8Stream"]


class Utf8Stream:
    """Decodes UTF-8 that arrives in pieces; a character is held back until its last byte has come.

    Bytes that can never become a character turn into U+FFFD.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, piece: bytes) -> str:
        """Return the characters that ``piece`` completes."""
        return self._decoder.decode(piece)

    def finish(self) -> str:
        """Return what is still held back: nothing, or U+FFFD for a character cut short."""
        return self._decoder.decode(b"", final=True)
