"""Tones of a telephone's keypad: each key is one low and one high frequency (DTMF, ITU-T Q.23)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.interfaces.record import Media, Record, Text, Turn
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.interfaces.source import Source
from modrwkv_demo.config import KeypadTonesConfig

__all__ = ["KEYS", "KeypadTonesSource", "recording"]

KEYS: Final = "123456789*0#"
LOW_HZ: Final = (697.0, 770.0, 852.0, 941.0)
HIGH_HZ: Final = (1209.0, 1336.0, 1477.0)

TONE_S: Final = (0.06, 0.12)
PAUSE_S: Final = (0.03, 0.06)
RAMP_S: Final = 0.005
LEVEL_DB: Final = (-20.0, -2.0)
TWIST_DB: Final = (-3.0, 3.0)
"""By how much the high frequency is louder than the low one."""
NOISE_DB: Final = (-25.0, -8.0)
"""Of the noise, against the tones."""
WOBBLE: Final = 0.01
WOBBLE_HZ: Final = (2.0, 8.0)


class KeypadTonesSource(Source[KeypadTonesConfig]):
    """Asks which key, or which keys, were pressed; the answer names them in order, as in ``40#``."""

    def __len__(self) -> int:
        return self.config.count

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(index)
        random = np.random.default_rng([self.config.seed, self.config.part == "test", index])
        count = (
            1
            if self.config.max_keys == 1 or random.random() < 0.5
            else int(random.integers(2, self.config.max_keys + 1))
        )
        keys = "".join(KEYS[place] for place in random.integers(len(KEYS), size=count))
        question = "Which key was pressed?" if count == 1 else "Which keys were pressed?"
        sound = Media("audio", Waveform(recording(keys, self.config.rate, random), self.config.rate))
        return Record(
            f"keypad_tones: {self.config.part} recording {index}",
            (Turn("user", (sound, Text(question))), Turn("assistant", (Text(keys),))),
        )


def recording(keys: str, rate: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Synthesize key strokes with pauses around them: ``[samples]`` within full scale."""
    pieces = [_pause(rate, random)]
    for key in keys:
        pieces += [_tone(key, rate, random), _pause(rate, random)]
    clean = np.concatenate(pieces)
    noise = random.standard_normal(len(clean)) * _gain(random.uniform(*NOISE_DB))
    samples = (clean + noise) * _gain(random.uniform(*LEVEL_DB))
    return np.clip(samples, -1.0, 1.0).astype(np.float32)


def _pause(rate: int, random: np.random.Generator) -> NDArray[np.float64]:
    return np.zeros(round(random.uniform(*PAUSE_S) * rate))


def _tone(key: str, rate: int, random: np.random.Generator) -> NDArray[np.float64]:
    """One key stroke of power 1 before its ramps; both frequencies wobble together, as from a tape."""
    row, column = divmod(KEYS.index(key), len(HIGH_HZ))
    seconds = np.arange(round(random.uniform(*TONE_S) * rate)) / rate
    wobble = 1.0 + WOBBLE * np.sin(2 * np.pi * (random.uniform(*WOBBLE_HZ) * seconds + random.random()))
    turns = np.cumsum(wobble) / rate
    twist = _gain(random.uniform(*TWIST_DB))
    low, high = (np.sin(2 * np.pi * (hz * turns + random.random())) for hz in (LOW_HZ[row], HIGH_HZ[column]))
    ramp = np.minimum(1.0, np.minimum(seconds, seconds[::-1]) / RAMP_S)
    tone: NDArray[np.float64] = ramp * (low + twist * high) * np.sqrt(2.0 / (1.0 + twist**2))
    return tone


def _gain(decibels: float) -> float:
    return float(10.0 ** (decibels / 20.0))
