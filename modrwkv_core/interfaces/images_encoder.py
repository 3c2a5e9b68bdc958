"""The base of encoders that read a signal's images with an image encoder."""

from __future__ import annotations

from abc import ABC
from pathlib import Path
from typing import Any, Generic, TypeVar

from modrwkv_core.interfaces.component import Encoder
from modrwkv_core.interfaces.images_config import ImagesEncoderConfig

__all__ = ["ImagesEncoder"]

ConfigT = TypeVar("ConfigT", bound=ImagesEncoderConfig)


class ImagesEncoder(Encoder[ConfigT], ABC, Generic[ConfigT]):
    """An encoder whose pretrained weights are those of its image encoder.

    Args:
        config: The configuration.
        encoder: The image encoder.
    """

    def __init__(self, config: ConfigT, encoder: Encoder[Any]) -> None:
        super().__init__(config)
        self.encoder = encoder

    def load_pretrained(self) -> None:
        """Load the pretrained weights of the image encoder."""
        self.encoder.load_pretrained()

    def pretrained_files(self) -> tuple[Path, ...]:
        """Return the files of the image encoder."""
        return self.encoder.pretrained_files()
