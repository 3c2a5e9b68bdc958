"""The base of configurations of encoders that read a signal's images with an image encoder. Never imports torch."""

from __future__ import annotations

from abc import ABC
from typing import Annotated, Self

from pydantic import SerializeAsAny

from modrwkv_core.interfaces.config import EncoderConfig
from modrwkv_core.interfaces.sections import ComponentSection

__all__ = ["ImagesEncoderConfig"]


class ImagesEncoderConfig(EncoderConfig, ABC):
    """Several images of a signal, such as frames or tiles; the length of an item is the number of its features."""

    encoder: Annotated[SerializeAsAny[EncoderConfig], ComponentSection("encoder", modality="image")]
    """Reads the images: any image encoder."""

    def resolved(self) -> Self:
        """Return a copy whose image encoder needs no outside files."""
        return self.model_copy(update={"encoder": self.encoder.resolved()})

    @property
    def out_dim(self) -> int:
        """Width of a feature."""
        return self.encoder.out_dim

    def out_length(self, length: int) -> int:
        """Number of features: the length of an item is that already."""
        return length
