"""One modality's way from a signal to its place in the token stream, as far as the CPU and configuration go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.config import AdapterConfig, CompressorConfig, EncoderConfig
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.interfaces.values import MediaItem

__all__ = ["MediaPipeline"]


@dataclass(frozen=True, slots=True)
class MediaPipeline:
    """Decodes and processes media of one modality and counts their placeholders. Picklable, for loader workers.

    Attributes:
        name: The modality's name.
        modality: Decodes.
        processor: Makes media items for the encoder.
        encoder: Configuration, for lengths.
        compressor: Configuration, for lengths; None compresses nothing.
        adapter: Configuration, for lengths.
    """

    name: str
    modality: Modality[Any]
    processor: Processor[Any, Any]
    encoder: EncoderConfig
    compressor: CompressorConfig | None
    adapter: AdapterConfig

    def read(self, media: Any) -> tuple[Any, MediaItem]:
        """Decode ``media`` and make its media item; return the signal too.

        Raises:
            DataError: ``media`` cannot be decoded or used.
        """
        signal = self.modality.decode(media)
        return signal, self.processor(signal)

    def out_length(self, length: int) -> int:
        """Number of vectors that an item of ``length`` puts into the token stream."""
        length = self.encoder.out_length(length)
        if self.compressor is not None:
            length = self.compressor.out_length(length)
        return self.adapter.out_length(length)
