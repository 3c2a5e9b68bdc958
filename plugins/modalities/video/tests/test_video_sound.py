"""The sound of a film, in the stretches between its windows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_video.footage import Footage
from modrwkv_video.modality import VideoModality
from modrwkv_video.processor import LONGEST_SOUND, sound_spans
from numpy.typing import NDArray

from modrwkv_core.errors import DataError

Write = Callable[..., Path]
RATE = 8000


def noise(seconds: float, channels: int = 1) -> NDArray[np.float32]:
    shape = (channels, round(seconds * RATE))
    return np.random.default_rng(channels).uniform(-0.5, 0.5, shape).astype(np.float32)


def decoded(path: Path) -> Footage:
    film = VideoModality().decode(path)
    assert isinstance(film, Footage)
    return film


def heard(film: Footage, *edges: float) -> list[NDArray[np.float32]]:
    waveforms = list(film.sounds(list(pairwise(edges))))
    assert {waveform.rate for waveform in waveforms} == {RATE}
    return [waveform.samples for waveform in waveforms]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
def test_stretches_are_those_of_the_recording(video_file: Write, suffix: str, channels: int) -> None:
    sound = noise(3.0, channels)
    film = decoded(video_file(f"film{suffix}", 30, sound=(sound, RATE)))
    assert film.sound_seconds == pytest.approx(3.0, abs=0.01)
    pieces = heard(film, 0.0, 0.013, 0.7, 2.2, 3.0)
    assert [len(piece) for piece in pieces] == [104, 5496, 12000, 6400]
    np.testing.assert_allclose(np.concatenate(pieces), sound.mean(axis=0), atol=1e-6)


def test_stretches_may_leave_out_the_beginning(video_file: Write) -> None:
    sound = noise(3.0)
    film = decoded(video_file("film.mkv", 30, sound=(sound, RATE)))
    np.testing.assert_allclose(heard(film, 1.0, 1.5)[0], sound[0, RATE : RATE * 3 // 2], atol=1e-6)


def test_sound_that_begins_late_is_at_its_time(video_file: Write) -> None:
    sound = noise(1.0)
    film = decoded(video_file("late.mkv", 30, sound=(sound, RATE), sound_begins=0.5))
    before, during, after = heard(film, 0.0, 0.5, 1.5, 2.0)
    assert not before.any()
    assert not after.any()
    np.testing.assert_allclose(during, sound[0], atol=1e-6)


def test_sound_in_mp4_is_at_its_time(video_file: Write) -> None:
    tone = np.zeros((1, 3 * RATE), np.float32)
    tone[0, RATE : 2 * RATE] = 0.5 * np.sin(np.arange(RATE))
    film = decoded(video_file("tone.mp4", 30, sound=(tone, RATE)))
    loudness = [float(np.abs(piece).mean()) for piece in heard(film, 0.0, 0.9, 1.1, 1.9, 2.1, 3.0)]
    assert loudness[2] > 20 * max(loudness[0], loudness[4])


def test_films_without_sound_have_none(video_file: Write) -> None:
    assert decoded(video_file("silent.mp4", 30)).sound_seconds == 0.0


def test_damaged_sound_is_named_with_its_second(video_file: Write) -> None:
    path = video_file("damaged.mp4", 30, sound=(noise(3.0), RATE))
    whole = path.read_bytes()
    content = bytearray(whole)
    begin, end = whole.index(b"mdat"), whole.rindex(b"moov")
    for at in range((begin + end) // 2, end, 7):
        content[at] = 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged\.mp4 is damaged: the sound at \d\.\d\d s cannot be decoded"):
        heard(decoded(path), 0.0, 3.0)


@given(
    st.lists(st.floats(0.01, 100.0), min_size=1, max_size=20).map(lambda steps: np.cumsum(steps).tolist()),
    st.floats(0.0, 50.0),
    st.floats(0.0, 3000.0),
)
def test_spans_tile_the_film(begins: list[float], rest: float, sound_end: float) -> None:
    film_end = begins[-1] + 0.01 + rest
    spans = sound_spans(begins, film_end, sound_end)
    assert len(spans) == len(begins)
    flat = [span for of_window in spans for span in of_window]
    assert all(begin < sound_end for begin, _ in flat)
    assert all(0 < end - begin <= LONGEST_SOUND + 1e-6 for begin, end in flat)
    assert [begin for begin, _ in flat[1:]] == pytest.approx([end for _, end in flat[:-1]])
    if sound_end > 0:
        assert flat[0][0] == 0.0
        assert flat[-1][1] >= sound_end - 1e-6, "no sound is lost"
    for begin, of_window in zip([0.0, *begins[1:]], spans, strict=True):
        assert not of_window or of_window[0][0] == pytest.approx(begin)
