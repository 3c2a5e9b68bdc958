"""Media to what stands for them in a token stream: items, and texts and media of other modalities between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from modrwkv_core.data.error_context import error_context
from modrwkv_core.data.feature_cache import FeatureCache, cacheable
from modrwkv_core.data.recent_media import RecentMedia
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.preprocessor import MediaPreprocessor
from modrwkv_core.interfaces.record import Media, Text
from modrwkv_core.interfaces.values import MediaItem

__all__ = ["MediaReader", "describe"]


class MediaReader:
    """Decodes and processes media. Picklable, for loader workers.

    Args:
        preprocessors: By modality.
        caches: By modality, features of its encoder, with which media are not decoded.
    """

    def __init__(self, preprocessors: Mapping[str, MediaPreprocessor], caches: Mapping[str, FeatureCache]) -> None:
        self.preprocessors = dict(preprocessors)
        self.caches = dict(caches)

    def preprocessor(self, modality: str) -> MediaPreprocessor:
        """Return what reads a modality.

        Raises:
            DataError: The model does not have it.
        """
        if modality not in self.preprocessors:
            raise DataError(
                f"holds {modality}, but the model has these modalities: {', '.join(self.preprocessors) or 'none'}",
                hint=f"add modalities.{modality} to the manifest, or leave such records out",
            )
        return self.preprocessors[modality]

    def decode(self, medium: Media) -> Any:
        """Return the signal of a medium.

        Raises:
            DataError: The model does not have its modality, or the medium is broken.
        """
        return self.preprocessor(medium.modality).decode(medium.media)

    def parts(self, medium: Media, signal: Any) -> Iterator[MediaItem | Text | Media]:
        """Yield the parts of a signal, which is that of ``medium``.

        Raises:
            DataError: The encoder cannot read it.
        """
        with error_context(describe(medium)):
            yield from self.preprocessor(medium.modality).parts(signal)

    def item(self, medium: Media) -> MediaItem:
        """Decode and process a medium that is a part of another one.

        Raises:
            DataError: The model does not have its modality, the medium is broken, or the encoder cannot read it.
        """
        preprocessor = self.preprocessor(medium.modality)
        with error_context(describe(medium)):
            return preprocessor.process(preprocessor.decode(medium.media))

    def unchanged(
        self, medium: Media, recent: RecentMedia | None
    ) -> tuple[Iterable[MediaItem | Text | Media], Callable[[], Any]]:
        """Return the parts of a medium as it is, with their features if they are cached, and what gives its signal.

        Args:
            medium: What is read.
            recent: Media that need not be decoded again, and where this one goes; None decodes it.

        Raises:
            DataError: The model does not have its modality, or the medium is broken.
        """
        preprocessor = self.preprocessor(medium.modality)
        if recent is not None and not preprocessor.divides:
            item = recent.item(medium.modality, medium.media, partial(self._whole, medium))
            return [item], partial(self.decode, medium)
        cache = self.caches.get(medium.modality)
        digest = None if cache is None else cache.digest(medium.media)
        if cache is None or digest is None:
            signal = self.decode(medium)
            return self.parts(medium, signal), partial(_identity, signal)
        if not preprocessor.divides and (cached := cache.read(digest)) is not None:
            return [cached], partial(self.decode, medium)
        signal = self.decode(medium)
        parts = cacheable(self.parts(medium, signal), cache, digest, divided=preprocessor.divides)
        return parts, partial(_identity, signal)

    def out_length(self, medium: Media, length: int) -> int:
        """Return how many vectors an item of ``medium`` becomes.

        Args:
            medium: What is read.
            length: Of the item.

        Raises:
            DataError: It becomes none.
        """
        count = self.preprocessor(medium.modality).out_length(length)
        if count < 1:
            raise DataError(
                f"{describe(medium)} is too short: its length of {length} leaves the model nothing to read",
                hint="leave it out, or use an encoder or compressor with a smaller stride",
            )
        return count

    def _whole(self, medium: Media) -> MediaItem:
        """Decode and process a medium that is not divided."""
        signal = self.decode(medium)
        with error_context(describe(medium)):
            return self.preprocessor(medium.modality).process(signal)


def describe(medium: Media) -> str:
    """Name a medium in errors: its modality, and its path if it has one."""
    return f"{medium.modality} {medium.media}" if isinstance(medium.media, str | Path) else medium.modality


def _identity(signal: Any) -> Any:
    return signal
