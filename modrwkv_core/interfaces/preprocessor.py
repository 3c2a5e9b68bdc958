"""One modality's way from a signal to its place in the token stream, as far as the CPU and configuration go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.config import AdapterConfig, CompressorConfig, EncoderConfig
from modrwkv_core.interfaces.modality import Modality

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
    """

    name: str
    modality: Modality[Any]
    processor: Processor[Any, Any]
    encoder: EncoderConfig
    compressor: CompressorConfig | None
    adapter: AdapterConfig

    def out_length(self, length: int) -> int:
        """Number of vectors that an item of ``length`` puts into the token stream."""
        length = self.encoder.out_length(length)
        if self.compressor is not None:
            length = self.compressor.out_length(length)
        return self.adapter.out_length(length)
