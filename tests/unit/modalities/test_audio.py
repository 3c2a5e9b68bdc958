from __future__ import annotations

import base64
import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.modalities.audio import AudioModality
from modrwkv_core.testing import ModalityContract


@pytest.fixture
def modality() -> AudioModality:
    return AudioModality()


def tone(samples: int = 4000, rate: int = 16_000) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(samples) / rate)).astype(np.float32)


def encoded(samples: NDArray[np.generic], rate: int = 16_000, file_format: str = "WAV", subtype: str = "") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=file_format, subtype=subtype or None)
    return file.getvalue()


class TestAudio(ModalityContract):
    plugin = "modrwkv_core.builtin"
    name = "audio"

    def media(self, folder: Path) -> list[Any]:
        (folder / "tone.wav").write_bytes(encoded(tone()))
        return [folder / "tone.wav", encoded(tone()), (tone(), 16_000), Waveform(tone(), 16_000)]

    def bad_media(self, folder: Path) -> list[Any]:
        return [b"no sound", tone(), (tone(),), 17]


@pytest.mark.parametrize(
    ("file_format", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 2**-7),
        ("WAV", "PCM_16", 2**-15),
        ("WAV", "PCM_24", 2**-23),
        ("WAV", "PCM_32", 2**-24),
        ("WAV", "FLOAT", 0.0),
        ("WAV", "DOUBLE", 0.0),
        ("FLAC", "PCM_16", 2**-15),
        ("OGG", "VORBIS", 0.05),
        ("MP3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_formats_and_depths(
    modality: AudioModality, tmp_path: Path, file_format: str, subtype: str, tolerance: float
) -> None:
    content = encoded(tone(), file_format=file_format, subtype=subtype)
    path = tmp_path / f"tone.{file_format.lower()}"
    path.write_bytes(content)
    uri = "data:audio/wav;base64," + base64.b64encode(content).decode()
    for media in (path, str(path), content, uri):
        waveform = modality.decode(media)
        assert waveform.rate == 16_000
        assert waveform.samples.dtype == np.float32
        assert waveform.samples.shape == tone().shape
        assert np.abs(waveform.samples - tone())[200:-200].max() <= tolerance


def test_an_independent_writer_agrees(modality: AudioModality) -> None:
    counts = np.array([0, 16384, -32768, 32767], dtype="<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 192_000, 0, "NONE", ""))
        writer.writeframes(counts.tobytes())
    waveform = modality.decode(file.getvalue())
    assert waveform.rate == 192_000
    np.testing.assert_array_equal(waveform.samples, [0.0, 0.5, -1.0, 32767 / 32768])


def test_channels_are_averaged(modality: AudioModality) -> None:
    stereo = np.stack([tone(), np.zeros(4000, np.float32)], axis=1)
    for media in (encoded(stereo, subtype="FLOAT"), (stereo, 16_000)):
        np.testing.assert_allclose(modality.decode(media).samples, tone() / 2, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_arrays_are_scaled_by_their_depth(modality: AudioModality, dtype: type) -> None:
    expected = np.array([-1.0, 0.0, 0.5], dtype=np.float32)
    if np.issubdtype(dtype, np.floating):
        array = expected.astype(dtype)
    else:
        half = 2 ** (np.iinfo(dtype).bits - 1)
        array = (expected * half + (half if dtype is np.uint8 else 0)).astype(dtype)
    waveform = modality.decode((array, 8000))
    np.testing.assert_array_equal(waveform.samples, expected)
    np.testing.assert_array_equal(modality.decode(waveform).samples, expected)


def test_bad_files_are_named(modality: AudioModality, tmp_path: Path) -> None:
    wrong = {
        "missing.wav": (None, "cannot read .*missing.wav"),
        "empty.wav": (b"", "empty.wav is empty"),
        "text.wav": (b"no sound at all" * 10, "text.wav is not a recording"),
        "no_samples.wav": (encoded(tone(0)), "no_samples.wav has no samples"),
        "silent.wav": (encoded(np.zeros(100, np.float32)), "silent.wav is silent: all its samples are 0"),
        "offset.wav": (encoded(np.full(100, 0.25)), "offset.wav is silent: all its samples are 0.25"),
        "nan.wav": (encoded(np.array([0.5, np.nan, 0.1]), 1000, subtype="FLOAT"), r"nan.wav holds NaN .* 0\.001 s"),
        "slow.wav": (encoded(tone(), rate=10), "slow.wav has 10 samples per second"),
    }
    for file, (content, message) in wrong.items():
        if content is not None:
            (tmp_path / file).write_bytes(content)
        with pytest.raises(DataError, match=message):
            modality.decode(tmp_path / file)


@pytest.mark.parametrize("file_format", ["WAV", "FLAC", "OGG", "MP3"])
def test_truncated_files_are_refused(modality: AudioModality, file_format: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    whole = encoded(noise, file_format=file_format)
    assert len(modality.decode(whole).samples) == 16_000
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(DataError):
            modality.decode(whole[: int(len(whole) * share)])


def test_a_streamed_wav_has_no_size_in_its_header(modality: AudioModality) -> None:
    whole = bytearray(encoded(tone(), subtype="PCM_16"))
    whole[4:8] = b"\xff\xff\xff\xff"
    whole[40:44] = b"\xff\xff\xff\xff"
    assert len(modality.decode(bytes(whole)).samples) == 4000


def test_bad_arrays_are_refused(modality: AudioModality) -> None:
    with pytest.raises(DataError, match="needs its rate"):
        modality.decode(tone())  # type: ignore[arg-type]
    for array in (np.zeros(0), np.array([1.0, np.inf]), np.zeros((2, 4000)), np.array(["a"]), np.zeros((2, 2, 2))):
        with pytest.raises(DataError):
            modality.decode((array, 16_000))
    for rate in (0, -16_000, 10_000_000):
        with pytest.raises(DataError, match="samples per second"):
            modality.decode((tone(), rate))
    with pytest.raises(DataError, match="silent"):
        modality.decode(Waveform(np.zeros(5, np.float32), 16_000))


@given(st.integers(2, 300), st.integers(1, 8), st.sampled_from([8000, 11_025, 16_000, 44_100, 192_000]))
def test_length_and_rate_are_kept(samples: int, channels: int, rate: int) -> None:
    noise = np.random.default_rng(samples).uniform(-1, 1, (samples, channels))
    waveform = AudioModality().decode(encoded(noise, rate, subtype="PCM_24"))
    assert (len(waveform.samples), waveform.rate) == (samples, rate)
