"""Audio: sound files and arrays to waveforms of one channel."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import soundfile
from numpy.typing import ArrayLike, NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.modalities.files import read_media

__all__ = ["RATES", "AudioModality"]

RATES: Final = range(1_000, 768_001)
"""Samples per second that a recording may have; others are a sign of a damaged header."""

_AGAIN: Final = "save it again from its source, or leave it out"

MAX_CHANNELS: Final = 64
"""Channels above which an array is taken to have its axes swapped."""

STREAMED: Final = 0x7FFF0000
"""Sizes from here on are what programs write into the header of a WAV file whose length they do not know yet."""

Samples: TypeAlias = NDArray[Any]


class AudioModality(Modality[Waveform]):
    """Decodes every format that libsndfile reads (WAV, FLAC, OGG, Opus, MP3, ...) at its own rate.

    Channels are averaged. Integers of any depth are scaled so that full scale is -1 to 1; floating-point samples are
    kept as they are. Silence is refused, as there is nothing to hear in it.
    """

    def decode(self, media: str | Path | bytes | tuple[ArrayLike, int] | Waveform) -> Waveform:
        """Decode ``media`` to ``[samples]``, float32.

        Args:
            media: A path, a data URI, the bytes of a file, a waveform, or an array ``[samples]`` or
                ``[samples, channels]`` with its rate in samples per second.

        Raises:
            DataError: The file is missing, empty, damaged or no recording; there are no samples, all samples are equal
                (silence), or some are NaN or infinite; the rate is none of :data:`RATES`.
        """
        if isinstance(media, Waveform):
            return _waveform(media.samples, media.rate, "the waveform")
        if isinstance(media, tuple) and len(media) == 2:
            array, rate = media
            return _waveform(_to_full_scale(np.asarray(array)), rate, "the given array")
        if isinstance(media, tuple | np.ndarray):
            raise DataError("an array of samples needs its rate", hint="give (array, samples per second)")
        content, name = read_media(media)
        samples, rate = _read(content, name)
        return _waveform(samples, rate, name)

    def examples(self) -> list[Waveform]:
        """Return a tenth and half a second of a tone in noise, 16,000 samples per second."""
        generator = np.random.default_rng(0)
        rate = 16_000
        tones = [np.sin(2 * np.pi * 440 * np.arange(samples) / rate) for samples in (rate // 10, rate // 2)]
        return [Waveform((0.4 * tone + generator.normal(0, 0.1, len(tone))).astype(np.float32), rate) for tone in tones]


def _read(content: bytes, name: str) -> tuple[Samples, int]:
    _refuse_cut_wav(content, name)
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            samples, announced, rate = file.read(dtype="float32", always_2d=True), file.frames, file.samplerate
    except soundfile.LibsndfileError as error:
        raise DataError(
            f"{name} is not a recording, or a damaged one: {error.error_string}",
            hint="WAV, FLAC, OGG and MP3 files can be read",
        ) from error
    if len(samples) < 0.98 * announced:  # an MP3 file without a header only lets libsndfile guess
        raise DataError(f"{name} is truncated: it holds {len(samples)} of {announced} samples", hint=_AGAIN)
    return samples, rate


def _refuse_cut_wav(content: bytes, name: str) -> None:
    # libsndfile reads what is left of a truncated WAV file without a word.
    announced = 8 + int.from_bytes(content[4:8], "little")
    if content[:4] == b"RIFF" and len(content) < announced < STREAMED:
        raise DataError(f"{name} is truncated: it holds {len(content)} of {announced} bytes", hint=_AGAIN)


def _to_full_scale(array: Samples) -> Samples:
    if array.dtype.kind == "u":
        middle = 2.0 ** (8 * array.dtype.itemsize - 1)
        return (array - middle) / middle
    if array.dtype.kind == "i":
        return array / 2.0 ** (8 * array.dtype.itemsize - 1)
    if array.dtype.kind != "f":
        raise DataError(f"the given array holds {array.dtype}, not samples")
    return array


def _waveform(samples: Samples, rate: int, name: str) -> Waveform:
    """Check ``samples``, ``[samples]`` or ``[samples, channels]``, and average the channels."""
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[1] > MAX_CHANNELS):
        raise DataError(
            f"{name} has the shape {list(samples.shape)}", hint="samples are [samples] or [samples, channels]"
        )
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
    if mono.min() == mono.max():
        raise DataError(
            f"{name} is silent: all its samples are {mono[0]:g}",
            hint="record it again, or leave it out: there is nothing to hear",
        )
    return Waveform(np.ascontiguousarray(mono, dtype=np.float32), int(rate))
