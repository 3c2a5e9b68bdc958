"""How recordings are cut into windows, whatever the blocks in which they come."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.transcription import Transcriber, Transcript, TranscriptionSettings, transcribe
from modrwkv_core.interfaces.record import Media
from modrwkv_core.interfaces.signals import Waveform

RATE = 1_000
SETTINGS = TranscriptionSettings(window=4.0, pause_search=2.0, prompt="What?")


class Listener:
    """Stands in for a session: remembers what it heard, and says how long it was."""

    run = Path("run")
    head_names = SimpleNamespace(transcription=lambda modality, head: head or "lm")

    def __init__(self, modalities: tuple[str, ...] = ("audio",)) -> None:
        self.model = self
        self.preprocessors = dict.fromkeys(modalities)
        self.heard: list[NDArray[np.float32]] = []

    def transcribe(self, medium: Media, *, prompt: str, max_tokens: int, head: str) -> str:
        assert medium.modality == "audio"
        assert medium.media.rate == RATE
        assert (prompt, max_tokens, head) == ("What?", 448, "lm")
        self.heard.append(medium.media.samples)
        return f"{len(medium.media.samples)} samples"


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0.0, 0.3, samples).astype(np.float32)


def run(samples: NDArray[np.float32], cuts: list[int], settings: TranscriptionSettings = SETTINGS) -> Any:
    listener: Any = Listener()
    blocks = [Waveform(block, RATE) for block in np.split(samples, sorted(cuts))]
    return listener, list(transcribe(listener, blocks, settings))


@given(st.integers(500, 20_000), st.lists(st.integers(0, 20_000), max_size=8))
def test_windows_cover_the_recording_once_whatever_the_blocks(length: int, cuts: list[int]) -> None:
    samples = noise(length)
    listener, transcripts = run(samples, cuts)
    lengths = [round((one.end - one.start) * RATE) for one in transcripts]
    words = [heard[:told] for heard, told in zip(listener.heard, lengths, strict=True)]
    assert np.array_equal(np.concatenate(words), samples)
    assert all(len(heard) == -(-told // RATE) * RATE for heard, told in zip(listener.heard, lengths, strict=True))
    assert not any(heard[told:].any() for heard, told in zip(listener.heard, lengths, strict=True))
    assert transcripts == run(samples, [])[1]
    assert all(transcript.final and transcript.end - transcript.start <= 4.0 for transcript in transcripts)
    assert transcripts[0].start == 0.0
    assert transcripts[-1].end == length / RATE
    assert [one.end for one in transcripts[:-1]] == [one.start for one in transcripts[1:]]
    assert all(one.end - one.start >= 2.0 for one in transcripts[:-1]), "a window ends within its last two seconds"


def test_a_window_ends_in_the_pause() -> None:
    samples = noise(8_000)
    samples[2_700:2_900] *= 0.01
    _, transcripts = run(samples, [])
    assert 2.7 < transcripts[0].end < 2.9


def test_without_a_search_windows_are_of_one_length() -> None:
    settings = TranscriptionSettings(window=4.0, pause_search=0.0, prompt="What?")
    _, transcripts = run(noise(9_000), [], settings)
    assert [(one.start, one.end) for one in transcripts] == [(0.0, 4.0), (4.0, 8.0), (8.0, 9.0)]


def test_a_short_end_is_filled_up_with_silence() -> None:
    listener, [transcript] = run(noise(30), [])
    assert (transcript.start, transcript.end) == (0.0, 0.03)
    assert len(listener.heard[0]) == RATE
    assert not listener.heard[0][30:].any()


def test_partial_results_come_at_their_pace_and_are_replaced() -> None:
    settings = TranscriptionSettings(window=4.0, pause_search=0.0, partial_every=1.0, prompt="What?")
    listener: Any = Listener()
    transcriber = Transcriber(listener, RATE, settings)
    told: list[Transcript] = []
    for block in np.split(noise(5_500), range(250, 5_500, 250)):
        told += transcriber.feed(block)
    told += transcriber.finish()
    assert [(one.start, one.end, one.final) for one in told] == [
        (0.0, 1.0, False),
        (0.0, 2.0, False),
        (0.0, 3.0, False),
        (0.0, 4.0, True),
        (4.0, 5.0, False),
        (4.0, 5.5, True),
    ]


def test_silence_has_nothing_to_say_at_its_end() -> None:
    listener: Any = Listener()
    assert Transcriber(listener, RATE, SETTINGS).finish() == []
    assert list(transcribe(listener, [], SETTINGS)) == []


def test_a_model_that_does_not_hear_is_refused() -> None:
    deaf: Any = Listener(("image",))
    with pytest.raises(ModRWKVError, match="does not hear; its modalities: image"):
        Transcriber(deaf, RATE)
    blocks = iter([Waveform(noise(1), RATE)])
    with pytest.raises(ModRWKVError, match="does not hear; its modalities: image"):
        list(transcribe(deaf, blocks))
    assert len(list(blocks)) == 1, "no sound is read in vain"


@pytest.mark.parametrize("wrong", [{"window": 0.0}, {"pause_search": 20.0}, {"partial_every": 0.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ModRWKVError):
        TranscriptionSettings(**wrong)
