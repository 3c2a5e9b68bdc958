"""Image files, arrays and Pillow images to sRGB pixels."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import ExifTags, UnidentifiedImageError
from PIL.Image import Transpose

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.readers.files import limit_from_environment, read_media

__all__ = ["MAX_PIXELS", "MAX_PIXELS_VARIABLE", "ImageModality"]

MAX_PIXELS: Final = 89_478_485
"""Pixels above which an image file is refused unless told otherwise: Pillow's own guard, 256 MiB in sRGB."""

MAX_PIXELS_VARIABLE: Final = "MODRWKV_MAX_IMAGE_PIXELS"
"""Environment variable that sets another limit."""

_TURNS: Final[dict[object, Transpose]] = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What sets an image upright, by the orientation of its EXIF."""

Pixels: TypeAlias = NDArray[np.uint8]


class ImageModality(Modality[Image]):
    """Decodes every format of images that Pillow reads itself (PostScript would be run); of an animation frame 1.

    The camera's rotation (EXIF) is applied, transparency is laid on white, palettes, greyscale and CMYK become RGB.
    16-bit greyscale is scaled to 8 bits; of 16-bit colors Pillow keeps the upper 8 bits. Embedded color profiles are
    not applied, as the published encoders' own processors do not apply them either.

    Args:
        max_pixels: Image files with more pixels are refused before they are decoded; by default what the environment
            variable :data:`MAX_PIXELS_VARIABLE` says, else :data:`MAX_PIXELS`. A limit above Pillow's own guard raises
            that guard for the whole process.
    """

    def __init__(self, max_pixels: int | None = None) -> None:
        self.max_pixels = limit_from_environment(MAX_PIXELS_VARIABLE, MAX_PIXELS) if max_pixels is None else max_pixels

    def decode(self, media: str | Path | bytes | PIL.Image.Image | NDArray[Any] | Image) -> Image:
        """Decode ``media`` to ``[height, width, 3]``, uint8.

        Args:
            media: A path, a data URI, the bytes of a file, a Pillow image, an image, or an array ``[height, width]``
                or ``[height, width, channels]`` with 1, 3 or 4 (with transparency) channels: uint8, uint16, bool, or
                floating point from 0 to 1.

        Raises:
            DataError: The file is missing, empty, damaged, too large or no image; the array is of another shape or
                type, or has no pixels.
        """
        if isinstance(media, Image):
            pixels = media.pixels
            if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
                raise DataError(f"an image is [height, width, 3] in uint8, not {list(pixels.shape)} in {pixels.dtype}")
            return media
        if isinstance(media, np.ndarray):
            return Image(_to_srgb(_from_array(media), "the given array"))
        if isinstance(media, PIL.Image.Image):
            return Image(_to_srgb(media, "the given Pillow image"))
        content, name = read_media(media)
        return Image(_to_srgb(self._open(content, name), name))

    def examples(self) -> list[Image]:
        """Return noise, upright and lying: 40 x 24 and 32 x 48 pixels."""
        generator = np.random.default_rng(0)
        return [Image(generator.integers(0, 256, (*size, 3), np.uint8)) for size in ((40, 24), (32, 48))]

    def _open(self, content: bytes, name: str) -> PIL.Image.Image:
        if PIL.Image.MAX_IMAGE_PIXELS is not None:
            PIL.Image.MAX_IMAGE_PIXELS = max(PIL.Image.MAX_IMAGE_PIXELS, self.max_pixels)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
                picture = PIL.Image.open(io.BytesIO(content))
                if picture.format == "PNG":  # Pillow decodes pixels without looking at their checksums
                    PIL.Image.open(io.BytesIO(content)).verify()
        except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError) as error:
            raise self._too_large(name, str(error)) from error
        except UnidentifiedImageError as error:
            raise DataError(
                f"{name} is not an image, or of a format that Pillow cannot read",
                hint="save it as PNG or JPEG, or leave it out",
            ) from error
        except Exception as error:
            raise _damaged(name, error) from error
        if picture.format == "EPS":  # to read it is to run it, for as long as it likes
            raise DataError(f"{name} is PostScript, a program and not an image", hint="save it as PNG")
        if picture.width * picture.height > self.max_pixels:
            raise self._too_large(name, f"{picture.width} x {picture.height} pixels")
        return picture

    def _too_large(self, name: str, size: str) -> DataError:
        return DataError(
            f"{name} is too large: {size}, the limit is {self.max_pixels:,} pixels",
            hint=f"make it smaller, or set {MAX_PIXELS_VARIABLE}",
        )


def _damaged(name: str, error: Exception) -> DataError:
    """Make the error for whatever Pillow's readers raise when a damaged file makes them trip."""
    return DataError(f"{name} is a damaged image: {error}", hint="save it again from its source, or leave it out")


def _from_array(array: NDArray[Any]) -> PIL.Image.Image:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or not array.size:
        raise DataError(
            f"an array of the shape {list(array.shape)} is not an image",
            hint="images are [height, width] or [height, width, channels] with 1, 3 or 4 channels",
        )
    pixels = _to_8_bit(array, "the given array")
    return PIL.Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _to_8_bit(values: NDArray[Any], name: str) -> Pixels:
    """Scale full scale to 0 ... 255."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if values.dtype.kind == "f" and values.min() >= 0.0 and values.max() <= 1.0:
        return np.rint(values * 255.0).astype(np.uint8)
    span = f" from {values.min()} to {values.max()}" if values.dtype.kind in "iuf" else ""
    raise DataError(
        f"{name} holds {values.dtype}{span}",
        hint="pixels are uint8, uint16, bool, or floating point from 0 to 1",
    )


def _to_srgb(picture: PIL.Image.Image, name: str) -> Pixels:
    """Load, turn, flatten and convert an image to ``[height, width, 3]``."""
    if not picture.width or not picture.height:
        raise DataError(f"{name} has no pixels: {picture.width} x {picture.height}")
    try:
        picture.load()
    except Exception as error:
        raise _damaged(name, error) from error
    picture = _upright(picture)
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = _from_numbers(picture, name)
    try:
        if picture.has_transparency_data:
            layers = picture.convert("RGBA")
            picture = PIL.Image.new("RGBA", layers.size, "white")
            picture.alpha_composite(layers)
        return np.array(picture.convert("RGB"))
    except ValueError as error:
        raise DataError(f"{name} has colors that do not become RGB: {error}", hint="save it as RGB") from error


def _upright(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Turn an image as its EXIF says; whatever else is in there does not concern the pixels."""
    try:
        turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # damaged EXIF trips Pillow's parser in many ways
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _from_numbers(picture: PIL.Image.Image, name: str) -> PIL.Image.Image:
    """Scale an image with one number for each pixel to 8 bits; 32-bit integers that fit count as 16-bit."""
    values = np.asarray(picture)
    if values.dtype.kind in "iu" and values.min() >= 0 and values.max() <= 65535:
        values = values.astype(np.uint16)
    pixels = _to_8_bit(values, name)
    if "transparency" in picture.info:
        pixels[values == picture.info["transparency"]] = 255
    return PIL.Image.fromarray(pixels)
