"""One modality's way from a signal to its place in the token stream, as far as the CPU and configuration go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.config import AdapterConfig, CompressorConfig, EncoderConfig
from modrwkv_core.interfaces.guard import Origin, guard, length_after
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.interfaces.record import Media, Text
from modrwkv_core.interfaces.values import MediaItem

__all__ = ["MediaPreprocessor"]

_END: Final = object()


@dataclass(frozen=True, slots=True)
class MediaPreprocessor:
    """What decodes and processes media of one modality, and counts their placeholders. Picklable, for loader workers.

    Attributes:
        name: The modality's name.
        modality: Decodes.
        processor: Makes media items for the encoder.
        encoder: Configuration, for lengths.
        compressor: Configuration, for lengths; None compresses nothing.
        adapter: Configuration, for lengths.
        origins: Who provides encoder, compressor and adapter, by kind, for errors.
    """

    name: str
    modality: Modality[Any]
    processor: Processor[Any, Any]
    encoder: EncoderConfig
    compressor: CompressorConfig | None
    adapter: AdapterConfig
    origins: Mapping[str, Origin] = field(default_factory=dict)

    def decode(self, media: Any) -> Any:
        """Decode a path, bytes or an array to a signal.

        Raises:
            DataError: The modality refuses it.
            PluginError: The modality failed.
        """
        with guard(self.modality.origin, "decode()"):
            return self.modality.decode(media)

    def process(self, signal: Any) -> MediaItem:
        """Make the encoder's media item of a signal.

        Raises:
            DataError: The processor refuses the signal.
            PluginError: The processor failed.
            ComponentError: It returned something else than a media item.
        """
        with guard(self.processor.origin, "the processor"):
            item = self.processor(signal)
        self._check(item)
        return item

    @property
    def divides(self) -> bool:
        """Whether a signal may become several parts of the token stream."""
        return type(self.processor).parts is not Processor.parts

    def parts(self, signal: Any) -> Iterator[MediaItem | Text | Media]:
        """Yield what stands for a signal in the token stream.

        Raises:
            DataError: The processor refuses the signal.
            PluginError: The processor failed.
            ComponentError: It yielded something else.
        """
        if not self.divides:
            yield self.process(signal)
            return
        with guard(self.processor.origin, "the processor"):
            parts = iter(self.processor.parts(signal))
        while True:
            # Not around the whole loop: what takes the parts is not the plugin's code.
            with guard(self.processor.origin, "the processor"):
                part: Any = next(parts, _END)
            if part is _END:
                return
            if not isinstance(part, Text | Media):
                self._check(part)
            yield part

    def _check(self, item: object) -> None:
        if not isinstance(item, MediaItem) or not isinstance(item.length, int):
            origin = self.processor.origin
            raise ComponentError(
                f"the processor returned {type(item).__name__}, not a MediaItem whose length is an int",
                component=origin.component if origin else f"encoder/{self.encoder.type}",
                distribution=origin.distribution if origin else None,
                hint="`modrwkv plugins check` shows the contract",
            )

    def out_length(self, length: int) -> int:
        """Number of vectors that an item of ``length`` puts into the token stream."""
        length = length_after(self.encoder, length, self.origins.get("encoder"))
        if self.compressor is not None:
            length = length_after(self.compressor, length, self.origins.get("compressor"))
        return length_after(self.adapter, length, self.origins.get("adapter"))
