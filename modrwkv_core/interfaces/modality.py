"""The Modality interface: files, bytes and arrays to signals."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from modrwkv_core.errors import DataError, ManifestError
from modrwkv_core.interfaces.guard import Origin
from modrwkv_core.interfaces.paths import local_path

__all__ = ["Modality", "decode_base64", "media_path"]

SignalT = TypeVar("SignalT")


class Modality(ABC, Generic[SignalT]):
    """Decodes one kind of signal. Picklable; runs on the CPU in loader workers.

    Attributes:
        origin: Who provides it, for errors; the core sets it.
    """

    origin: Origin | None = None

    @abstractmethod
    def decode(self, media: str | Path | bytes | Any) -> SignalT:
        """Decode ``media`` to a signal.

        Args:
            media: A path, the bytes of a file, or an object that already holds the data (an array, a PIL image, a
                signal of this modality, which is returned as it is after validation).

        Raises:
            DataError: The file is missing, empty, truncated or of another kind, or the values are not usable (no
                samples, NaN, ...). The message names the file.
        """

    def examples(self) -> Sequence[SignalT]:
        """Return a few small signals of different sizes, the same ones every time.

        Whoever writes an encoder for this modality tests it with them.
        """
        return ()


def media_path(path: Path | str) -> Path:
    """Return the path of a media file with ``~`` expanded.

    Raises:
        DataError: No file can have this path.
    """
    try:
        return local_path(path)
    except ManifestError as error:
        raise DataError(error.message, hint=error.hint) from error


def decode_base64(text: str) -> bytes:
    """Decode base64, with or without line breaks.

    Raises:
        DataError: ``text`` holds something else, or is cut off.
    """
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise DataError(f"the data are not base64: {error}", hint="encode the whole file in base64") from error
