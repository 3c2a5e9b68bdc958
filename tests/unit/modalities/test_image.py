from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.modalities.image import ImageModality
from modrwkv_core.testing import ModalityContract

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture
def modality() -> ImageModality:
    return ImageModality()


def encoded(picture: PIL.Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def colors() -> NDArray[np.uint8]:
    """Two rows, three columns; no symmetry that a wrong rotation could hide after."""
    return np.array([[RED, GREEN, BLUE], [WHITE, (10, 20, 30), (40, 50, 60)]], dtype=np.uint8)


def png_of_16_bits(values: NDArray[np.uint16], transparent: tuple[int, ...] = ()) -> bytes:
    """Write ``[height, width, channels]`` as PNG, which Pillow cannot; one color may be transparent."""
    height, width, channels = values.shape
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)  # filter 0 before each row
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0))]
    if transparent:
        chunks.append((b"tRNS", struct.pack(f">{channels}H", *transparent)))
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


class TestImage(ModalityContract):
    plugin = "modrwkv_core.builtin"
    name = "image"

    def media(self, folder: Path) -> list[Any]:
        content = encoded(PIL.Image.fromarray(colors()))
        (folder / "image.png").write_bytes(content)
        return [folder / "image.png", content, colors(), PIL.Image.fromarray(colors()), Image(colors())]

    def bad_media(self, folder: Path) -> list[Any]:
        return [b"no image", np.zeros((2, 2, 2), np.uint8), 17]


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "WEBP", "PPM"])
def test_lossless_files_come_back_exactly(modality: ImageModality, file_format: str, tmp_path: Path) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    content = encoded(PIL.Image.fromarray(colors()), file_format, **options)
    path = tmp_path / f"image.{file_format.lower()}"
    path.write_bytes(content)
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    for media in (path, str(path), content, uri):
        pixels = modality.decode(media).pixels
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels, colors())


def test_pictures_and_arrays_are_taken_as_they_are(modality: ImageModality) -> None:
    picture = Image(colors())
    assert modality.decode(picture) is picture
    for media in (colors(), PIL.Image.fromarray(colors()), np.asarray(PIL.Image.fromarray(colors()))):
        np.testing.assert_array_equal(modality.decode(media).pixels, colors())


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda pixels: pixels),
        (2, np.fliplr),
        (3, lambda pixels: np.rot90(pixels, 2)),
        (4, np.flipud),
        (5, lambda pixels: pixels.transpose(1, 0, 2)),
        (6, lambda pixels: np.rot90(pixels, -1)),
        (7, lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2)),
        (8, np.rot90),
    ],
)
def test_the_rotation_of_the_camera_is_applied(modality: ImageModality, orientation: int, turned: Any) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    content = encoded(PIL.Image.fromarray(colors()), exif=exif)
    np.testing.assert_array_equal(modality.decode(content).pixels, turned(colors()))


def test_transparency_is_laid_on_white(modality: ImageModality) -> None:
    rgba = np.array([[(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 51)]], dtype=np.uint8)
    expected = np.array([[RED, WHITE, (204, 204, 204)]], dtype=np.uint8)  # 51 / 255 black over white
    grey_alpha = PIL.Image.fromarray(rgba).convert("LA")
    np.testing.assert_array_equal(modality.decode(rgba).pixels, expected)
    np.testing.assert_array_equal(modality.decode(encoded(PIL.Image.fromarray(rgba))).pixels, expected)
    np.testing.assert_array_equal(modality.decode(encoded(grey_alpha)).pixels[0, 1:], expected[0, 1:])


def test_palettes_become_colors(modality: ImageModality) -> None:
    palette = PIL.Image.new("P", (3, 1))
    palette.putpalette([*RED, *GREEN, *BLUE])
    palette.putdata([2, 0, 1])
    np.testing.assert_array_equal(modality.decode(encoded(palette)).pixels, [[BLUE, RED, GREEN]])
    for transparency in (1, bytes([255, 0, 255])):
        content = encoded(palette, transparency=transparency)
        np.testing.assert_array_equal(modality.decode(content).pixels, [[BLUE, RED, WHITE]])
    np.testing.assert_array_equal(modality.decode(encoded(palette, "GIF")).pixels, [[BLUE, RED, GREEN]])


def test_grey_black_and_white_and_cmyk_become_rgb(modality: ImageModality) -> None:
    gray = np.array([[0, 100, 255]], dtype=np.uint8)
    expected = np.repeat(gray[..., None], 3, axis=2)
    np.testing.assert_array_equal(modality.decode(encoded(PIL.Image.fromarray(gray))).pixels, expected)
    np.testing.assert_array_equal(modality.decode(gray).pixels, expected)
    np.testing.assert_array_equal(modality.decode(gray[..., None]).pixels, expected)
    bits = PIL.Image.fromarray(gray > 50)
    np.testing.assert_array_equal(modality.decode(encoded(bits)).pixels[0, :, 0], [0, 255, 255])
    cmyk = PIL.Image.new("CMYK", (2, 1), (0, 255, 255, 0))
    np.testing.assert_array_equal(modality.decode(encoded(cmyk, "TIFF")).pixels, [[RED, RED]])


def test_a_cmyk_photograph_keeps_its_colors(modality: ImageModality) -> None:
    content = encoded(PIL.Image.new("RGB", (16, 16), (200, 60, 30)).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(modality.decode(content).pixels.astype(int) - (200, 60, 30)).max() <= 4


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", None])
def test_16_bits_are_scaled_not_clipped(modality: ImageModality, file_format: str | None) -> None:
    deep = np.array([[0, 128, 129, 257 * 100, 65535]], dtype=np.uint16)
    media = deep if file_format is None else encoded(PIL.Image.fromarray(deep), file_format)
    np.testing.assert_array_equal(modality.decode(media).pixels[0, :, 0], [0, 0, 1, 100, 255])


def test_16_bit_colors_lose_their_lower_bits(modality: ImageModality) -> None:
    colors_16 = np.array([[(0, 255, 256), (65535, 25700, 25799)]], dtype=np.uint16)
    expected = [[(0, 0, 1), (255, 100, 100)]]
    np.testing.assert_array_equal(modality.decode(png_of_16_bits(colors_16)).pixels, expected)
    alpha = np.array([[[65535], [0]]], dtype=np.uint16)
    layered = modality.decode(png_of_16_bits(np.concatenate([colors_16, alpha], axis=2))).pixels
    np.testing.assert_array_equal(layered, [[(0, 0, 1), WHITE]])
    grey_alpha = np.concatenate([colors_16[..., 1:2], alpha], axis=2)
    np.testing.assert_array_equal(modality.decode(png_of_16_bits(grey_alpha)).pixels, [[(0, 0, 0), WHITE]])


def test_a_transparent_grey_of_16_bits_is_white(modality: ImageModality) -> None:
    gray = np.array([[[25700], [300], [301]]], dtype=np.uint16)
    pixels = modality.decode(png_of_16_bits(gray, transparent=(300,))).pixels
    np.testing.assert_array_equal(pixels[0, :, 0], [100, 255, 1])


def test_32_bit_integers_and_floats_are_read_where_their_scale_is_clear(modality: ImageModality) -> None:
    fitting = PIL.Image.fromarray(np.array([[0, 65535]], dtype=np.int32))
    np.testing.assert_array_equal(modality.decode(encoded(fitting, "TIFF")).pixels[0, :, 0], [0, 255])
    fraction = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    for media in (fraction, encoded(PIL.Image.fromarray(fraction), "TIFF")):
        np.testing.assert_array_equal(modality.decode(media).pixels[0, :, 0], [0, 128, 255])
    for unclear in (np.array([[0, 70000]], dtype=np.int32), np.array([[0.0, 17.5]], dtype=np.float32)):
        with pytest.raises(DataError, match="from 0"):
            modality.decode(encoded(PIL.Image.fromarray(unclear), "TIFF"))


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["RGB", "RGBA", "L", "LA", "P", "CMYK", "1", "I;16"]))
def test_any_size_and_mode_gives_its_pixels(width: int, height: int, mode: str) -> None:
    content = encoded(PIL.Image.new(mode, (width, height)), "TIFF")
    assert ImageModality().decode(content).pixels.shape == (height, width, 3)


def test_bad_files_are_named(modality: ImageModality, tmp_path: Path) -> None:
    whole = encoded(PIL.Image.effect_noise((64, 64), 50.0))
    wrong = {
        "missing.png": (None, "cannot read .*missing.png"),
        "empty.png": (b"", "empty.png is empty"),
        "truncated.png": (whole[: len(whole) // 2], "truncated.png is a damaged image"),
        "headless.png": (whole[:20], "headless.png is"),
        "text.png": (b"no image at all", "text.png is not an image"),
    }
    for file, (content, message) in wrong.items():
        if content is not None:
            (tmp_path / file).write_bytes(content)
        with pytest.raises(DataError, match=message):
            modality.decode(tmp_path / file)
    with pytest.raises(DataError, match="cannot read"):
        modality.decode(tmp_path)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_truncated_files_of_every_format_are_refused(modality: ImageModality, file_format: str) -> None:
    whole = encoded(PIL.Image.effect_noise((64, 64), 50.0).convert("RGB"), file_format)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(DataError):
            modality.decode(whole[: int(len(whole) * share)])


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "PPM", "TGA", "AVIF"])
def test_a_cut_at_any_byte_is_refused_or_loses_no_pixel(modality: ImageModality, file_format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    whole = encoded(PIL.Image.fromarray(noise), file_format)
    expected = modality.decode(whole).pixels
    refused = 0
    for size in range(1, len(whole)):
        try:
            pixels = modality.decode(whole[:size]).pixels
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(pixels, expected)
    assert refused > 0.8 * len(whole)


@settings(deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP"]), st.integers(0), st.integers(1, 255))
def test_a_wrong_byte_is_refused_or_gives_a_picture(file_format: str, place: int, change: int) -> None:
    content = bytearray(encoded(PIL.Image.fromarray(colors()), file_format))
    content[place % len(content)] ^= change
    try:
        pixels = ImageModality().decode(bytes(content)).pixels
    except DataError:
        return
    assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3)


def test_a_wrong_byte_in_the_pixels_of_a_png_is_refused(modality: ImageModality) -> None:
    whole = encoded(PIL.Image.fromarray(colors()), compress_level=0)
    begin, end = whole.index(b"IDAT") + 4, whole.index(b"IEND") - 8
    for place in range(begin, end):
        content = bytearray(whole)
        content[place] ^= 1
        with pytest.raises(DataError, match="damaged"):
            modality.decode(bytes(content))


def test_a_damaged_rotation_says_so(modality: ImageModality) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    content = bytearray(encoded(PIL.Image.fromarray(colors()), "JPEG", exif=exif))
    offset = content.index(b"Exif") + 10  # where the table of tags begins
    content[offset : offset + 4] = b"\xff" * 4
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        assert modality.decode(bytes(content)).pixels.shape == (2, 3, 3)


def test_postscript_is_not_run(modality: ImageModality) -> None:
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n{} loop\n"
    with pytest.raises(DataError, match="PostScript"):
        modality.decode(program)


@pytest.mark.parametrize("size", [(1, 1), (1, 20_000), (20_000, 1), (20_000, 50)])
def test_the_smallest_and_the_longest_pictures_are_read(modality: ImageModality, size: tuple[int, int]) -> None:
    pixels = modality.decode(encoded(PIL.Image.new("RGB", size, GREEN))).pixels
    assert pixels.shape == (size[1], size[0], 3)
    assert (pixels == GREEN).all()


def test_bad_arrays_uris_and_pictures_are_refused(modality: ImageModality) -> None:
    with pytest.raises(DataError, match=r"\[3, 20, 30\] is not an image"):
        modality.decode(np.zeros((3, 20, 30), dtype=np.uint8))
    for array in (np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3), np.int64), np.full((2, 2), np.nan)):
        with pytest.raises(DataError):
            modality.decode(array)
    for channels in (2, 5):
        with pytest.raises(DataError, match=rf"\[4, 4, {channels}\] is not an image"):
            modality.decode(np.zeros((4, 4, channels), np.uint8))
    for array in (np.array([["a"]]), np.zeros((2, 2), np.complex64), np.zeros((2, 2), "M8[s]")):
        with pytest.raises(DataError, match="pixels are uint8, uint16"):
            modality.decode(array)
    with pytest.raises(DataError, match="do not become RGB"):
        modality.decode(PIL.Image.new("LA", (2, 2)).convert("La"))
    for uri in ("data:image/png;base64", "data:image/png,abc", "data:image/png;base64,***"):
        with pytest.raises(DataError, match=r"data URI|not base64"):
            modality.decode(uri)
    with pytest.raises(DataError, match="download it"):
        modality.decode("https://example.org/cat.png")
    with pytest.raises(DataError, match="uint8"):
        modality.decode(Image(np.zeros((2, 2, 3), dtype=np.float32)))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no pixels"):
        modality.decode(PIL.Image.new("RGB", (0, 5)))


def test_the_limit_on_pixels_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(PIL.Image.new("L", (100, 30)))
    with pytest.raises(DataError, match=r"100 x 30 pixels, the limit is 2,999 pixels"):
        ImageModality(max_pixels=2999).decode(content)
    assert ImageModality(max_pixels=3000).decode(content).pixels.shape == (30, 100, 3)
    monkeypatch.setenv("MODRWKV_MAX_IMAGE_PIXELS", "2999")
    with pytest.raises(DataError, match="MODRWKV_MAX_IMAGE_PIXELS"):
        ImageModality().decode(content)
    monkeypatch.setenv("MODRWKV_MAX_IMAGE_PIXELS", "many")
    with pytest.raises(DataError, match="'many'"):
        ImageModality()


def test_a_huge_picture_is_refused_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", PIL.Image.MAX_IMAGE_PIXELS)  # restored after the second limit
    content = encoded(PIL.Image.new("1", (20_000, 20_000)))
    with pytest.raises(DataError, match="too large"):
        ImageModality().decode(content)
    with pytest.raises(DataError, match="too large"):
        ImageModality(max_pixels=300_000_000).decode(content[:200])


def test_a_higher_limit_raises_the_guard_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
    content = encoded(PIL.Image.new("L", (100, 30)))
    assert ImageModality(max_pixels=3000).decode(content).pixels.shape == (30, 100, 3)


def test_odd_exif_does_not_concern_the_pixels(modality: ImageModality) -> None:
    """A resolution of -1/0 beside a rotation, as some cameras write it."""
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHII", 0x011A, 10, 1, 38)
    tiff = b"II*\0" + struct.pack("<IH", 8, 2) + entries + struct.pack("<I", 0) + struct.pack("<ii", -1, 0)
    content = encoded(PIL.Image.fromarray(colors()), "JPEG", exif=b"Exif\0\0" + tiff)
    assert modality.decode(content).pixels.shape == (*colors().shape[1::-1], 3)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_png_whose_data_end_in_zeros_is_refused(modality: ImageModality, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    content = encoded(PIL.Image.fromarray(noise))
    kept = int(len(content) * share)
    with pytest.raises(DataError, match="damaged image"):
        modality.decode(content[:kept] + bytes(len(content) - kept))
