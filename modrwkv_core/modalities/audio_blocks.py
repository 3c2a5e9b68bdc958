"""Recordings of any length in blocks: a file or a pipe, of which never more than a block is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.modalities.audio import check_format, check_whole, to_waveform, unreadable

__all__ = ["read_file_blocks", "read_pcm16_blocks"]

BLOCK_SECONDS: Final = 1.0

_PIPE_BYTES: Final = 65_536
_FULL_SCALE: Final = np.float32(2**15)
_HEADERS: Final = (b"RIFF", b"fLaC", b"OggS", b"ID3")
"""What files begin with that are often piped by mistake."""


def read_file_blocks(path: Path) -> Iterator[Waveform]:
    """Decode a recording in blocks of a second, channels averaged, at its own rate.

    Raises:
        DataError: The file is missing, damaged, truncated or no recording, which may show only at its end; some
            samples are NaN or infinite.
    """
    if not path.is_file():
        raise DataError(f"cannot read {path}: it is not a file", hint="check the path")
    frames = 0
    try:
        with soundfile.SoundFile(path) as file:
            check_format(file, str(path))
            check_whole(file, str(path))
            for block in file.blocks(int(BLOCK_SECONDS * file.samplerate), dtype="float32", always_2d=True):
                frames += len(block)
                yield to_waveform(block, file.samplerate, str(path))
            check_whole(file, str(path), frames)
    except soundfile.LibsndfileError as error:
        raise unreadable(str(path), error) from error
    if frames == 0:
        raise DataError(f"{path} has no samples", hint="save it again; the program that wrote it may have been killed")


def read_pcm16_blocks(pipe: BinaryIO, rate: int) -> Iterator[Waveform]:
    """Read raw samples of one channel, 16-bit little-endian integers, as they come.

    Args:
        pipe: Where they come from; its end ends the recording.
        rate: Samples per second.

    Raises:
        DataError: The pipe holds a sound file, or ends within a sample; the rate is out of range.
    """
    rest = b""
    is_first = True
    while chunk := pipe.read1(_PIPE_BYTES):  # type: ignore[attr-defined]
        content = rest + chunk
        if is_first and content.startswith(_HEADERS):
            raise DataError(
                "standard input holds a sound file, not raw samples",
                hint="give the file's name, or pipe `ffmpeg -i FILE -f s16le -ac 1 -ar 16000 -`",
            )
        whole = len(content) // 2 * 2
        rest = content[whole:]
        if whole:
            is_first = False
            yield to_waveform(_scaled(content[:whole]), rate, "standard input")
    if rest:
        raise DataError("standard input ends within a sample", hint="pipe 16-bit samples of one channel")


def _scaled(content: bytes) -> NDArray[np.float32]:
    samples: NDArray[np.float32] = np.frombuffer(content, dtype="<i2").astype(np.float32) / _FULL_SCALE
    return samples
