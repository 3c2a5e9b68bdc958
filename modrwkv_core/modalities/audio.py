"""Audio: sound files and arrays to waveforms of one channel."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import soundfile
from numpy.typing import ArrayLike, NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.readers.files import limit_from_environment, read_media

__all__ = [
    "MAX_SAMPLES",
    "MAX_SAMPLES_VARIABLE",
    "RATES",
    "AudioModality",
    "check_format",
    "check_whole",
    "to_waveform",
    "unreadable",
]

MAX_SAMPLES: Final = 2**28
"""Samples of all channels above which a file is refused unless told otherwise: 1 GiB, 46 min of stereo at 48 kHz."""

MAX_SAMPLES_VARIABLE: Final = "MODRWKV_MAX_AUDIO_SAMPLES"
"""Environment variable that sets another limit."""

RATES: Final = range(1_000, 768_001)
"""Samples per second that a recording may have; others are a sign of a damaged header."""

_AGAIN: Final = "save it again from its source, or leave it out"
_SHAPE: Final = "samples are [samples] or [samples, channels]"

MAX_CHANNELS: Final = 64
"""Channels above which an array is taken to have its axes swapped."""

STREAMED: Final = 0x7FFF0000
"""Sizes from here on are what programs write into the header of a WAV file whose length they do not know yet."""

FORMATS: Final = frozenset(
    {"AIFF", "AU", "CAF", "FLAC", "HTK", "MP3", "OGG", "RF64", "SDS", "SVX", "W64", "WAV", "WAVEX", "XI"}
)
"""Formats of libsndfile in which a file that is cut off can be told from a whole one."""

SIZES: Final = re.compile(r": (\d+) \(should be (\d+)\)")
"""What libsndfile's log says of a size in a header and that of the file."""

Samples: TypeAlias = NDArray[Any]


class AudioModality(Modality[Waveform]):
    """Decodes every format that libsndfile reads (WAV, FLAC, OGG, Opus, MP3, ...) at its own rate.

    Channels are averaged. Integers of any depth are scaled so that full scale is -1 to 1; floating-point samples are
    kept as they are. A file that is cut off is refused, and so are formats in which that does not show. A WAV file
    whose header was never completed, as programs that stream leave it, is read to its end.

    Args:
        max_samples: Files with more samples in all channels are refused before they are decoded; by default what the
            environment variable :data:`MAX_SAMPLES_VARIABLE` says, else :data:`MAX_SAMPLES`.
    """

    def __init__(self, max_samples: int | None = None) -> None:
        if max_samples is None:
            max_samples = limit_from_environment(MAX_SAMPLES_VARIABLE, MAX_SAMPLES)
        self.max_samples = max_samples

    def decode(self, media: str | Path | bytes | tuple[ArrayLike, int] | Waveform) -> Waveform:
        """Decode ``media`` to ``[samples]``, float32.

        Args:
            media: A path, a data URI, the bytes of a file, a waveform, or an array ``[samples]`` or
                ``[samples, channels]`` with its rate in samples per second.

        Raises:
            DataError: The file is missing, empty, damaged, too large or no recording; there are no samples, or some are
                NaN or infinite; the rate is none of :data:`RATES`.
        """
        if isinstance(media, Waveform):
            return to_waveform(media.samples, media.rate, "the waveform")
        if isinstance(media, tuple) and len(media) == 2:
            array, rate = media
            return to_waveform(_to_full_scale(array), rate, "the given array")
        if isinstance(media, tuple | np.ndarray):
            raise DataError("an array of samples needs its rate", hint="give (array, samples per second)")
        content, name = read_media(media)
        samples, rate = self._read(content, name)
        return to_waveform(samples, rate, name)

    def examples(self) -> list[Waveform]:
        """Return a tenth and half a second of a tone in noise, 16,000 samples per second."""
        generator = np.random.default_rng(0)
        rate = 16_000
        tones = [np.sin(2 * np.pi * 440 * np.arange(samples) / rate) for samples in (rate // 10, rate // 2)]
        return [Waveform((0.4 * tone + generator.normal(0, 0.1, len(tone))).astype(np.float32), rate) for tone in tones]

    def _read(self, content: bytes, name: str) -> tuple[Samples, int]:
        try:
            with soundfile.SoundFile(_Content(_with_size(content))) as file:
                self._check(file, name)
                samples, rate = file.read(dtype="float32", always_2d=True), file.samplerate
                check_whole(file, name, len(samples))
        except soundfile.LibsndfileError as error:
            raise unreadable(name, error) from error
        return samples, rate

    def _check(self, file: soundfile.SoundFile, name: str) -> None:
        """Refuse a file that announces too much to be decoded, or more than it holds."""
        check_format(file, name)
        if file.frames * file.channels > self.max_samples:
            raise DataError(
                f"{name} is too large: {file.frames:,} samples in {file.channels} channels, "
                f"the limit is {self.max_samples:,} in all",
                hint=f"cut it into parts, or set {MAX_SAMPLES_VARIABLE}; a damaged header may also announce too much",
            )
        check_whole(file, name)


def unreadable(name: str, error: soundfile.LibsndfileError) -> DataError:
    """Return the error of a file that libsndfile cannot read."""
    return DataError(
        f"{name} is not a recording, or a damaged one: {error.error_string}",
        hint="WAV, FLAC, OGG and MP3 files can be read",
    )


def check_format(file: soundfile.SoundFile, name: str) -> None:
    """Refuse files that are no recordings, and formats in which it does not show that a file is cut off.

    Raises:
        DataError: The file is one of them.
    """
    if not file.seekable():
        raise DataError(f"{name} is an instrument of the format {file.format}, not a recording", hint=_AGAIN)
    if file.format not in FORMATS:
        raise DataError(
            f"{name} has the format {file.format}, in which a truncated recording looks whole",
            hint="convert it to WAV or FLAC",
        )


def check_whole(file: soundfile.SoundFile, name: str, frames: int | None = None) -> None:
    """Refuse a file that is cut off.

    Args:
        file: The file.
        name: What to call it.
        frames: How many were read until its end; None before it is read.

    Raises:
        DataError: It holds less than it announces.
    """
    # libsndfile reads what is left of a truncated file, and only its log tells.
    for announced, found in SIZES.findall(file.extra_info):
        if int(found) < int(announced) < STREAMED:
            raise DataError(f"{name} is truncated: it holds {found} of {announced} bytes", hint=_AGAIN)
    if frames is not None and frames < 0.98 * file.frames:  # an MP3 file without a header only lets libsndfile guess
        raise DataError(f"{name} is truncated: it holds {frames} of {file.frames} samples", hint=_AGAIN)


def _with_size(content: bytes) -> bytes:
    """Complete the header of a WAV file whose writer did not know the number of samples."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return content
    at = 12
    while at + 8 <= len(content):
        kind, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if kind == b"data":
            whole = int.from_bytes(content[4:8], "little")
            if 0 < size < STREAMED or (size == 0 and at < whole < STREAMED):
                return content
            rest = min(len(content) - at - 8, STREAMED)
            sizes = [(at + rest).to_bytes(4, "little"), rest.to_bytes(4, "little")]
            return content[:4] + sizes[0] + content[8 : at + 4] + sizes[1] + content[at + 8 :]
        at += 8 + size + size % 2
    return content


class _Content(io.BytesIO):
    """Bytes of a file; a damaged header can send libsndfile to a place before the first of them."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return super().seek(max(offset, 0) if whence == io.SEEK_SET else offset, whence)


def _to_full_scale(given: ArrayLike) -> Samples:
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise DataError(f"the given samples are not an array: {error}", hint=_SHAPE) from error
    if array.dtype.kind == "u":
        middle = 2.0 ** (8 * array.dtype.itemsize - 1)
        return (array - middle) / middle
    if array.dtype.kind == "i":
        return array / 2.0 ** (8 * array.dtype.itemsize - 1)
    if array.dtype.kind != "f":
        raise DataError(f"the given array holds {array.dtype}, not samples", hint="give integers or real numbers")
    return array


def to_waveform(samples: Samples, rate: int, name: str) -> Waveform:
    """Check ``samples``, ``[samples]`` or ``[samples, channels]``, and average the channels.

    Raises:
        DataError: There are none, some are NaN or infinite, or the rate is none of :data:`RATES`.
    """
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[1] > MAX_CHANNELS):
        raise DataError(f"{name} has the shape {list(samples.shape)}", hint=_SHAPE)
    if not samples.size:
        raise DataError(f"{name} has no samples", hint=_AGAIN)
    if rate not in RATES:
        raise DataError(
            f"{name} has {rate} samples per second, not {RATES.start:,} to {RATES.stop - 1:,}",
            hint="resample it, or correct the rate in its header",
        )
    mono = samples.mean(axis=1) if samples.ndim == 2 else samples
    if not np.isfinite(mono).all():
        raise DataError(
            f"{name} holds NaN or infinite samples, the first at {np.argmin(np.isfinite(mono)) / rate:.3f} s",
            hint=_AGAIN,
        )
    return Waveform(np.ascontiguousarray(mono, dtype=np.float32), int(rate))
