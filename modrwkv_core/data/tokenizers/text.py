"""What every tokenizer does with text before it looks for tokens in it."""

from __future__ import annotations

from modrwkv_core.errors import DataError

__all__ = ["escape_control_characters"]

_VISIBLE = {0x16: 0x2416, 0x17: 0x2417}


def escape_control_characters(text: str) -> str:
    """Return ``text`` with the control characters that mark turns (U+0016, U+0017) as visible symbols (U+2416, U+2417).

    Raises:
        DataError: The text holds a lone surrogate, which UTF-8 cannot express.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"text holds the lone surrogate U+{ord(text[error.start]):04X} at character {error.start}",
            hint="write a whole character there; UTF-8 has no half ones",
        ) from error
    return text.translate(_VISIBLE)
