"""Recordings in blocks are those that the modality decodes whole."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.modalities.audio import AudioModality
from modrwkv_core.modalities.audio_blocks import read_file_blocks, read_pcm16_blocks

RATE = 8_000


def sound(samples: int, channels: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-0.9, 0.9, (samples, channels)).astype(np.float32)


class Trickle(io.BytesIO):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        super().__init__(content)
        self.sizes = sizes

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(self.sizes.pop() if self.sizes else size)


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "mp3"])
def test_blocks_of_a_file_make_the_whole(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"sound.{form}"
    soundfile.write(path, sound(20_123), RATE)
    whole = AudioModality().decode(path)
    blocks = list(read_file_blocks(path))
    assert {block.rate for block in blocks} == {RATE}
    assert max(len(block.samples) for block in blocks) <= RATE
    np.testing.assert_allclose(np.concatenate([block.samples for block in blocks]), whole.samples, atol=1e-6)


@given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1), st.lists(st.integers(1, 5)))
def test_a_pipe_may_break_anywhere(samples: list[int], sizes: list[int]) -> None:
    pipe = Trickle(np.array(samples, dtype="<i2").tobytes(), sizes)
    blocks = list(read_pcm16_blocks(pipe, RATE))
    heard = np.concatenate([block.samples for block in blocks])
    assert np.array_equal(heard, np.array(samples, dtype=np.int16) / np.float32(2**15))


def test_a_file_whose_writer_did_not_know_its_length_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, sound(20_000), RATE, subtype="PCM_16")
    content = path.read_bytes()
    at = content.index(b"data") + 4
    path.write_bytes(content[:4] + b"\xff" * 4 + content[8:at] + b"\xff" * 4 + content[at + 4 :])
    assert sum(len(block.samples) for block in read_file_blocks(path)) == 20_000


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, sound(20_000), RATE)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(DataError, match="is truncated"):
        list(read_file_blocks(path))


@pytest.mark.parametrize(
    ("content", "message"), [(b"not a sound at all", "is not a recording"), (None, "it is not a file")]
)
def test_what_is_no_recording_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_file_blocks(path))


def test_a_file_without_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "none.wav", sound(0), RATE)
    with pytest.raises(DataError, match="has no samples"):
        list(read_file_blocks(tmp_path / "none.wav"))


def test_a_sound_file_in_the_pipe_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "sound.wav", sound(100), RATE)
    with (tmp_path / "sound.wav").open("rb") as pipe, pytest.raises(DataError, match="a sound file, not raw samples"):
        list(read_pcm16_blocks(pipe, RATE))


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(DataError, match="ends within a sample"):
        list(read_pcm16_blocks(io.BytesIO(b"\0\0\0"), RATE))
