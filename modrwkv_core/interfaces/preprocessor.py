"""One modality's way from a signal to its place in the token stream, as far as the CPU and configuration go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.config import AdapterConfig, CompressorConfig, EncoderConfig
from modrwkv_core.interfaces.guard import Origin, guard, length_after
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.interfaces.values import MediaItem

__all__ = ["MediaPreprocessor"]


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
        origin = self.processor.origin
        with guard(origin, "the processor"):
            item = self.processor(signal)
        if not isinstance(item, MediaItem) or not isinstance(item.length, int):
            raise ComponentError(
                f"the processor returned {type(item).__name__}, not a MediaItem whose length is an int",
                component=origin.component if origin else f"encoder/{self.encoder.type}",
                distribution=origin.distribution if origin else None,
                hint="`modrwkv plugins check` shows the contract",
            )
        return item

    def out_length(self, length: int) -> int:
        """Number of vectors that an item of ``length`` puts into the token stream."""
        length = length_after(self.encoder, length, self.origins.get("encoder"))
        if self.compressor is not None:
            length = length_after(self.compressor, length, self.origins.get("compressor"))
        return length_after(self.adapter, length, self.origins.get("adapter"))
