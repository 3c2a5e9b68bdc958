from __future__ import annotations

import base64
import io
import wave
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
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


@pytest.mark.parametrize(("subtype", "step"), [("PCM_U8", 2**-7), ("PCM_16", 2**-15), ("PCM_24", 2**-23)])
def test_stereo_at_192_khz_in_any_depth(modality: AudioModality, subtype: str, step: float) -> None:
    stereo = np.stack([tone(rate=192_000), -0.5 * tone(rate=192_000)], axis=1)
    waveform = modality.decode(encoded(stereo, 192_000, subtype=subtype))
    assert waveform.rate == 192_000
    np.testing.assert_allclose(waveform.samples, tone(rate=192_000) / 4, atol=step)


def test_an_instrument_is_no_recording(modality: AudioModality) -> None:
    with pytest.raises(DataError, match="an instrument of the format XI"):
        modality.decode(encoded(tone(), file_format="XI"))


def test_bad_files_are_named(modality: AudioModality, tmp_path: Path) -> None:
    wrong = {
        "missing.wav": (None, "cannot read .*missing.wav"),
        "empty.wav": (b"", "empty.wav is empty"),
        "text.wav": (b"no sound at all" * 10, "text.wav is not a recording"),
        "no_samples.wav": (encoded(tone(0)), "no_samples.wav has no samples"),
        "nan.wav": (encoded(np.array([0.5, np.nan, 0.1]), 1000, subtype="FLOAT"), r"nan.wav holds NaN .* 0\.001 s"),
        "slow.wav": (encoded(tone(), rate=10), "slow.wav has 10 samples per second"),
    }
    for file, (content, message) in wrong.items():
        if content is not None:
            (tmp_path / file).write_bytes(content)
        with pytest.raises(DataError, match=message):
            modality.decode(tmp_path / file)


@pytest.mark.parametrize("file_format", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "RF64", "W64"])
def test_truncated_files_are_refused(modality: AudioModality, file_format: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    whole = encoded(noise, file_format=file_format)
    assert len(modality.decode(whole).samples) == 16_000
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(DataError):
            modality.decode(whole[: int(len(whole) * share)])


@pytest.mark.parametrize("file_format", ["WAV", "OGG", "AIFF", "CAF"])
def test_a_clip_without_samples_is_refused(modality: AudioModality, file_format: str) -> None:
    with pytest.raises(DataError, match="the given bytes has no samples"):
        modality.decode(encoded(tone(0), file_format=file_format))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF", "RF64"]),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damage_is_refused_or_still_a_recording(file_format: str, damage: list[tuple[int, int]]) -> None:
    """Never another exception, nor memory for what a header only claims."""
    content = bytearray(encoded(np.random.default_rng(0).normal(0, 0.1, 2000), file_format=file_format))
    for place, value in damage:
        content[place % len(content)] = value
    with suppress(DataError):
        assert np.isfinite(AudioModality().decode(bytes(content)).samples).all()


def test_a_header_that_announces_hours_costs_no_memory(modality: AudioModality) -> None:
    content = bytearray(encoded(tone(), file_format="FLAC"))
    content[22:26] = b"\xff\xff\xff\xff"  # the lower 32 bits of the number of samples
    with pytest.raises(DataError, match=r"too large: 4,294,967,295 samples in 1 channels") as caught:
        modality.decode(bytes(content))
    assert "MODRWKV_MAX_AUDIO_SAMPLES" in str(caught.value)


def test_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(encoded(np.stack([tone(), tone()], axis=1)))
    assert len(AudioModality(max_samples=8000).decode(path).samples) == 4000
    with pytest.raises(DataError, match=r"long\.wav is too large: 4,000 samples in 2 channels, the limit is 7,999"):
        AudioModality(max_samples=7999).decode(path)
    monkeypatch.setenv("MODRWKV_MAX_AUDIO_SAMPLES", "100")
    with pytest.raises(DataError, match="the limit is 100 in all"):
        AudioModality().decode(path)
    monkeypatch.setenv("MODRWKV_MAX_AUDIO_SAMPLES", "-1")
    with pytest.raises(DataError, match="MODRWKV_MAX_AUDIO_SAMPLES is '-1'"):
        AudioModality()


def test_a_streamed_wav_has_no_size_in_its_header(modality: AudioModality) -> None:
    whole = bytearray(encoded(tone(), subtype="PCM_16"))
    whole[4:8] = b"\xff\xff\xff\xff"
    whole[40:44] = b"\xff\xff\xff\xff"
    assert len(modality.decode(bytes(whole)).samples) == 4000


def test_bad_arrays_are_refused(modality: AudioModality) -> None:
    with pytest.raises(DataError, match="needs its rate"):
        modality.decode(tone())  # type: ignore[arg-type]
    shapes = (np.zeros(0), np.zeros((2, 4000)), np.zeros((2, 2, 2)), [[0.0, 1.0], [0.5]])
    values = (np.array([1.0, np.inf]), np.array(["a"]), np.array([True, False]), np.array([1j, 0.0]))
    for array in (*shapes, *values):
        with pytest.raises(DataError) as caught:
            modality.decode((array, 16_000))
        assert caught.value.hint
    for rate in (0, -16_000, 10_000_000):
        with pytest.raises(DataError, match="samples per second"):
            modality.decode((tone(), rate))


def test_silence_is_a_recording(modality: AudioModality) -> None:
    for media in (encoded(np.zeros(100, np.float32)), Waveform(np.zeros(100, np.float32), 16_000)):
        np.testing.assert_array_equal(modality.decode(media).samples, np.zeros(100, np.float32))


@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
@pytest.mark.parametrize("data", [0, 0xFFFFFFFF])
def test_headers_that_were_never_completed(modality: AudioModality, riff: int, data: int) -> None:
    content = bytearray(encoded(tone(), subtype="PCM_16"))
    content[4:8] = riff.to_bytes(4, "little")
    at = content.index(b"data") + 4
    content[at : at + 4] = data.to_bytes(4, "little")
    np.testing.assert_allclose(modality.decode(bytes(content)).samples, tone(), atol=2**-14)


@pytest.mark.parametrize("container", ["NIST", "IRCAM", "VOC", "PAF", "MAT5"])
def test_formats_that_do_not_show_a_cut_are_refused(modality: AudioModality, container: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, tone(), 16_000, format=container)
    with pytest.raises(DataError, match="truncated recording looks whole"):
        modality.decode(file.getvalue())


@given(st.integers(2, 300), st.integers(1, 8), st.sampled_from([8000, 11_025, 16_000, 44_100, 192_000]))
def test_length_and_rate_are_kept(samples: int, channels: int, rate: int) -> None:
    noise = np.random.default_rng(samples).uniform(-1, 1, (samples, channels))
    waveform = AudioModality().decode(encoded(noise, rate, subtype="PCM_24"))
    assert (len(waveform.samples), waveform.rate) == (samples, rate)
