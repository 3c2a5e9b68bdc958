"""Streams with needles, read back from their records."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_demo.config import NeedleConfig
from modrwkv_demo.needle import FILLER, NeedleSource
from pydantic import ValidationError
from sklearn.datasets import load_digits

from modrwkv_core.interfaces.record import Media, Record, Text
from modrwkv_core.interfaces.signals import Image, Waveform

DIGITS = load_digits()
SCANS = {np.rint(255 - scan / 16 * 255).astype(np.uint8).tobytes(): index for index, scan in enumerate(DIGITS.images)}


def records(**config: Any) -> list[Record]:
    source = NeedleSource(NeedleConfig(**config))
    return [source[index] for index in range(len(source))]


def shown(signal: Any) -> str:
    """Say which digit a signal is, by other means than the source's."""
    if isinstance(signal, Image):
        return str(DIGITS.target[SCANS[signal.pixels[::2, ::2, 0].tobytes()]])
    assert isinstance(signal, Waveform)
    seconds = np.arange(len(signal.samples)) / signal.rate
    power = [abs(signal.samples @ np.exp(-2j * np.pi * hz * seconds)) for hz in (697, 770, 852, 941, 1209, 1336, 1477)]
    return "123456789*0#"[int(np.argmax(power[:4])) * 3 + int(np.argmax(power[4:]))]


def stream(record: Record) -> list[tuple[str, str]]:
    """Return the names and digits of a record's stream."""
    *parts, question = record.turns[0].parts
    assert isinstance(question, Text)
    if not any(isinstance(part, Media) for part in parts):
        (text,) = parts
        assert isinstance(text, Text)
        return [(item[0], item[1]) for item in text.text.split()]
    names = [part.text.strip() for part in parts if isinstance(part, Text)]
    return list(zip(names, [shown(part.media) for part in parts if isinstance(part, Media)], strict=False))


def asked(record: Record) -> list[tuple[str, str]]:
    pairs = zip(record.turns[::2], record.turns[1::2], strict=True)
    found = []
    for question, answer in pairs:
        text, said = question.parts[-1], answer.parts[0]
        assert isinstance(text, Text)
        assert isinstance(said, Text)
        match = re.fullmatch(r"What is (\w)\?", text.text)
        assert match is not None
        found.append((match[1], said.text))
    return found


@given(
    items=st.integers(1, 40),
    shortest=st.integers(1, 40) | st.none(),
    needles=st.integers(1, 52),
    questions=st.integers(1, 52),
    seed=st.integers(0, 2**32),
)
def test_needles_are_found_where_the_record_says(
    items: int, shortest: int | None, needles: int, questions: int, seed: int
) -> None:
    shortest = None if shortest is None else min(shortest, items)
    config = {"items": items, "min_items": shortest, "needles": needles, "questions": questions, "seed": seed}
    for record in records(count=2, **config):
        digits = stream(record)
        assert (shortest or items) <= len(digits) <= items
        named = [name for name, _ in digits if name != FILLER]
        assert len(named) == len(set(named)) == min(needles, len(digits))
        answers = asked(record)
        assert len(answers) == len(dict(answers)) == min(questions, len(named))
        assert all((name, answer) in digits for name, answer in answers)
        name, _ = answers[-1]
        assert record.annotations["distance"] == [each for each, _ in reversed(digits)].index(name)


@pytest.mark.parametrize("media", ["text", "image", "audio"])
def test_digits_are_shown_in_every_way(media: str) -> None:
    right = []
    for record in records(count=8, media=media, items=6, needles=3, questions=3):
        digits = dict(stream(record))
        right += [digits[name] == answer for name, answer in asked(record)]
    assert len(right) == 24
    assert sum(right) >= (24 if media != "audio" else 22)  # a few tones drown in their noise


def test_parts_and_seeds_differ_and_scans_are_apart() -> None:
    text = {str(records(count=1, part=part, seed=seed)[0].turns) for part in ("train", "test") for seed in (0, 1)}
    assert len(text) == 4
    for part, scans in (("train", range(1437)), ("test", range(1437, 1797))):
        for record in records(count=5, part=part, media="image", items=20):
            drawn = [part.media.pixels[::2, ::2, 0] for part in record.turns[0].parts if isinstance(part, Media)]
            assert {SCANS[pixels.tobytes()] for pixels in drawn} <= set(scans)


def test_distances_are_even_on_a_logarithmic_scale() -> None:
    distances = np.array([record.annotations["distance"] for record in records(count=600, items=256)])
    shares = [np.mean((distances + 1 >= low) & (distances + 1 < 4 * low)) for low in (1, 4, 16, 64)]
    # The sum of 1/d over the stretches, by the sum over all 256.
    assert shares == pytest.approx([0.30, 0.24, 0.23, 0.23], abs=0.06)


def test_lengths_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="64 is above 8"):
        NeedleConfig(items=8, min_items=64)
    with pytest.raises(IndexError):
        NeedleSource(NeedleConfig(count=2))[2]
