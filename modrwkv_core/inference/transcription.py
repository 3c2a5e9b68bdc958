"""Sound of any length to text, window by window: memory does not grow with the recording.

A window is transcribed as a conversation of its own, as the model was trained on recordings. It ends at the quietest
place of its last seconds, so that words are seldom cut, and the next window begins there. Windows do not overlap: no
word is heard twice. The model hears silence after a window, up to a whole second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Media
from modrwkv_core.interfaces.signals import Waveform

__all__ = ["Transcriber", "Transcript", "TranscriptionSettings", "transcribe"]

_FRAME_SECONDS: Final = 0.05
"""Length of what counts as quiet or loud."""


@dataclass(frozen=True, slots=True)
class TranscriptionSettings:
    """How a recording is cut and what the model is asked.

    Attributes:
        window: The longest stretch that is transcribed at once, in seconds. Cost and memory grow with it; take the
            length of the recordings that the model was trained on.
        pause_search: A window ends at the quietest place of its last so many seconds.
        partial_every: Transcribe an unfinished window again after so many seconds of new sound; None waits until it is
            complete. The cost of a second of sound grows by ``window / partial_every`` at most.
        prompt: What the user says after the recording, as in training; a transcript head does not read it.
        max_tokens: Longest text of a window that a token head writes.

    Raises:
        ModRWKVError: A value is out of its range.
    """

    window: float = 30.0
    pause_search: float = 5.0
    partial_every: float | None = None
    prompt: str = ""
    max_tokens: int = 448

    def __post_init__(self) -> None:
        if not 1.0 <= self.window <= 600.0:
            raise ModRWKVError(f"the window is {self.window} s", hint="it must be 1 to 600 seconds")
        if not 0.0 <= self.pause_search <= self.window / 2:
            raise ModRWKVError(
                f"the window's end is searched in {self.pause_search} s", hint="it must be at most half of the window"
            )
        if self.partial_every is not None and self.partial_every < 0.1:
            raise ModRWKVError(f"partial results every {self.partial_every} s", hint="it must be at least 0.1 seconds")


@dataclass(frozen=True, slots=True)
class Transcript:
    """The text of a stretch of sound.

    Attributes:
        start: Where it begins, in seconds from the beginning of the recording.
        end: Where it ends.
        text: What the model says of it.
        final: Whether the window is complete; else a later one replaces this.
    """

    start: float
    end: float
    text: str
    final: bool


class Transcriber:
    """One recording on its way. It holds at most a window of sound.

    Args:
        session: A model with the modality ``audio``.
        rate: Samples per second of the recording.
        settings: How it is cut.
        head: Name of the head; see :meth:`~modrwkv_core.inference.session.Session.transcribe`.

    Raises:
        ModRWKVError: The model has no modality ``audio``, or no such head.
    """

    def __init__(
        self, session: Session, rate: int, settings: TranscriptionSettings | None = None, head: str | None = None
    ) -> None:
        self._head = _head_that_hears(session, head)
        self.settings = settings or TranscriptionSettings()
        self._session = session
        self._rate = rate
        self._begin = 0
        # One buffer for all windows: arrays that come and go would leave holes in memory.
        self._buffer = np.empty(round(self.settings.window * rate), dtype=np.float32)
        self._held = 0
        self._heard = 0  # of the samples held, those of the latest partial result

    def feed(self, samples: NDArray[np.float32]) -> list[Transcript]:
        """Take the next samples of one channel, ``[samples]``, full scale -1 to 1; return what can be said now."""
        transcripts = []
        while len(samples):
            taken, samples = np.split(samples, [len(self._buffer) - self._held])
            self._buffer[self._held : self._held + len(taken)] = taken
            self._held += len(taken)
            if self._held == len(self._buffer):
                transcripts.append(self._final(self._pause()))
            elif self._is_partial_due():
                transcripts.append(self._partial())
        return transcripts

    def finish(self) -> list[Transcript]:
        """End the recording; return what is left to say."""
        return [self._final(self._held)] if self._held else []

    def _is_partial_due(self) -> bool:
        every = self.settings.partial_every
        return every is not None and self._held - self._heard >= every * self._rate

    def _partial(self) -> Transcript:
        self._heard = self._held
        return self._transcript(self._held, final=False)

    def _final(self, end: int) -> Transcript:
        transcript = self._transcript(end, final=True)
        self._buffer[: self._held - end] = self._buffer[end : self._held].copy()
        self._held -= end
        self._heard = 0
        self._begin += end
        return transcript

    def _pause(self) -> int:
        """Return the sample in the middle of the latest of the quietest frames."""
        frame = max(1, round(_FRAME_SECONDS * self._rate))
        frames = round(self.settings.pause_search * self._rate) // frame
        if frames == 0:
            return self._held
        tail = self._buffer[self._held - frames * frame : self._held].reshape(frames, frame)
        energy = np.square(tail, dtype=np.float64).mean(axis=1)
        quietest = frames - 1 - int(energy[::-1].argmin())
        return self._held - (frames - quietest) * frame + frame // 2

    def _transcript(self, length: int, *, final: bool) -> Transcript:
        """Transcribe the first ``length`` samples that are held."""
        # Silence up to a whole second: encoders need some sound, and each new length would take memory for good.
        heard = np.pad(self._buffer[:length], (0, -length % self._rate))
        text = self._session.transcribe(
            Media("audio", Waveform(heard, self._rate)),
            prompt=self.settings.prompt,
            max_tokens=self.settings.max_tokens,
            head=self._head,
        )
        start, end = (sample / self._rate for sample in (self._begin, self._begin + length))
        return Transcript(start, end, text, final)


def transcribe(
    session: Session,
    blocks: Iterable[Waveform],
    settings: TranscriptionSettings | None = None,
    head: str | None = None,
) -> Iterator[Transcript]:
    """Transcribe the blocks of one recording as they come; see :class:`Transcriber`.

    The model is checked before the first block is read.

    Raises:
        ModRWKVError: The model has no modality ``audio``, or no such head.
        DataError: The recording cannot be read.
    """
    head = _head_that_hears(session, head)
    transcriber: Transcriber | None = None
    for block in blocks:
        if transcriber is None:
            transcriber = Transcriber(session, block.rate, settings, head)
        yield from transcriber.feed(block.samples)
    if transcriber is not None:
        yield from transcriber.finish()


def _head_that_hears(session: Session, head: str | None) -> str:
    """Return the name of the head that transcribes sound; see :class:`Transcriber`."""
    if "audio" not in session.model.preprocessors:
        listed = ", ".join(session.model.preprocessors) or "none"
        raise ModRWKVError(
            f"the model of {session.run} does not hear; its modalities: {listed}",
            hint="add modalities.audio to the manifest and train again",
        )
    return session.head_names.transcription("audio", head)
