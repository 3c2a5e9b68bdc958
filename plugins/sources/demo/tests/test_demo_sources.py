import pickle
from collections import Counter, defaultdict
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from modrwkv_demo.config import DigitsQaConfig, KeypadTonesConfig, MeasuredSeriesConfig
from modrwkv_demo.digits_qa import DigitsQaSource
from modrwkv_demo.keypad_tones import KeypadTonesSource
from modrwkv_demo.measured_series import MeasuredSeriesSource
from sklearn.datasets import load_digits
from statsmodels.datasets import elnino, sunspots

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Record, Target, Text, Turn
from modrwkv_core.interfaces.signals import Image, TimeSeries, Waveform
from modrwkv_core.interfaces.source import Source


def digits(**config: Any) -> DigitsQaSource:
    return DigitsQaSource(DigitsQaConfig(**config))


def tones(**config: Any) -> KeypadTonesSource:
    return KeypadTonesSource(KeypadTonesConfig(**config))


def series(**config: Any) -> MeasuredSeriesSource:
    return MeasuredSeriesSource(MeasuredSeriesConfig(**config))


def everything(source: Source[Any]) -> list[Record]:
    return [source[index] for index in range(len(source))]


def asked(record: Record) -> list[tuple[str, str]]:
    words = [part.text for turn in record.turns for part in turn.parts if isinstance(part, Text)]
    return list(zip(words[::2], words[1::2], strict=True))


def signal(record: Record) -> Any:
    [media] = [part.media for turn in record.turns for part in turn.parts if isinstance(part, Media)]
    return media


def question_only_floor(train: list[Record], test: list[Record]) -> float:
    best: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for record in train:
        for question, answer in asked(record):
            best[question][answer] += 1
    pairs = [pair for record in test for pair in asked(record)]
    return sum(best[question].most_common(1)[0][0] == answer for question, answer in pairs) / len(pairs)


@pytest.mark.parametrize("source", [digits(turns=2), tones(count=20), series(stride=40)])
def test_records_are_the_same_everywhere(source: Source[Any]) -> None:
    again = type(source)(source.config)
    copy = pickle.loads(pickle.dumps(source))
    for index in reversed(range(min(len(source), 40))):
        expected = asdict(source[index])
        np.testing.assert_equal(asdict(again[index]), expected)
        np.testing.assert_equal(asdict(copy[index]), expected)
    keys = [record.key for record in everything(source)]
    assert len(set(keys)) == len(keys)


# digits


def test_digits_are_scikit_learns() -> None:
    published = load_digits()
    train, test = (everything(digits(part=part, turns=4)) for part in ("train", "test"))
    assert len(train) == 1437
    assert len(test) == 360
    for record, scan, label in zip(train + test, published.images, published.target, strict=True):
        picture = signal(record)
        assert isinstance(picture, Image)
        assert picture.pixels.shape == (16, 16, 3)
        assert picture.pixels.dtype == np.uint8
        assert np.abs(255 - picture.pixels[::2, 1::2, 1].astype(float) - scan / 16 * 255).max() <= 0.5
        for question, answer in asked(record):
            match question.split():
                case ["Which", *_]:
                    assert answer == str(label)
                case [*_, "odd?"]:
                    assert answer == ("even", "odd")[label % 2]
                case [*_, "than", "4?"]:
                    assert answer == ("yes" if label in (5, 6, 7, 8, 9) else "no")
                case ["Is", "it", "a", guess]:
                    assert answer == ("yes" if f"{label}?" == guess else "no")
                case _:
                    raise AssertionError(question)


def test_digits_one_question_at_a_time() -> None:
    alone, together = everything(digits(part="test")), everything(digits(part="test", turns=4))
    assert len(alone) == 4 * len(together)
    assert [pair for record in alone for pair in asked(record)] == [
        pair for record in together for pair in asked(record)
    ]
    assert [len(asked(record)) for record in everything(digits(part="test", turns=3))[:4]] == [3, 1, 3, 1]


def test_captions_of_digits_alone() -> None:
    captions = DigitsQaSource(DigitsQaConfig(questions="which", turns=4))
    answers = load_digits().target[:-360]
    assert len(captions) == len(answers)
    for index in (0, 7, len(captions) - 1):
        turns = captions[index].turns
        assert turns[0].parts[1] == Text("Which digit is this?")
        assert turns[1:] == (Turn("assistant", (Text(str(answers[index])),)),)


def test_digits_must_be_looked_at() -> None:
    floor = question_only_floor(everything(digits(turns=4)), everything(digits(part="test")))
    assert floor < 0.45


# tones


def heard(samples: np.ndarray, rate: int, max_keys: int) -> str:
    """Goertzel's way to hear keys, written apart: the strongest pair of frequencies in each loud stretch."""
    frame = rate // 100
    frames = samples[: len(samples) // frame * frame].reshape(-1, frame).astype(float)
    seconds = np.arange(frame) / rate
    low, high = [697, 770, 852, 941], [1209, 1336, 1477]
    energy = np.stack([np.abs(frames @ np.exp(-2j * np.pi * hz * seconds)) ** 2 for hz in low + high], axis=1)
    loud = energy.sum(1) > 0.25 * np.quantile(energy.sum(1), 0.9)
    keys = ""
    for stretch in np.split(np.arange(len(loud)), np.flatnonzero(np.diff(loud.astype(int))) + 1):
        if loud[stretch[0]] and len(stretch) >= 3:
            whole = samples[stretch[0] * frame : (stretch[-1] + 1) * frame]
            times = np.arange(len(whole)) / rate
            power = [abs(whole @ np.exp(-2j * np.pi * hz * times)) for hz in low + high]
            keys += "123456789*0#"[int(np.argmax(power[:4])) * 3 + int(np.argmax(power[4:]))]
    return keys


def test_a_detector_hears_the_keys() -> None:
    records = everything(tones(count=200))
    hits = 0
    for record in records:
        waveform = signal(record)
        assert isinstance(waveform, Waveform)
        assert waveform.rate == 8000
        assert waveform.samples.dtype == np.float32
        assert np.abs(waveform.samples).max() <= 1
        [(_, answer)] = asked(record)
        hits += heard(waveform.samples, waveform.rate, 3) == answer
    assert hits / len(records) > 0.9


def test_tones_are_varied_and_parts_differ() -> None:
    train, test = everything(tones(count=600)), everything(tones(count=600, part="test"))
    answers = Counter(answer for record in train for _, answer in asked(record))
    assert {len(answer) for answer in answers} == {1, 2, 3}
    assert 0.4 < sum(count for answer, count in answers.items() if len(answer) == 1) / 600 < 0.6
    assert {answer for answer in answers if len(answer) == 1} == set("123456789*0#")
    assert {len(asked(record)[0][1]) == 1 for record in train if "key was" in asked(record)[0][0]} == {True}
    assert question_only_floor(train, test) < 0.15
    lengths = {len(signal(record).samples) for record in train}
    assert len(lengths) > 300
    sounds = [signal(record).samples[:200].tobytes() for record in train + test]
    assert len(set(sounds)) == 1200
    assert {len(asked(record)[0][1]) for record in everything(tones(count=50, max_keys=1))} == {1}
    loudness = [20 * np.log10(np.abs(signal(record).samples).max()) for record in train]
    assert max(loudness) - min(loudness) > 12


# series


def window(record: Record) -> tuple[np.ndarray, np.ndarray]:
    seen, answer = signal(record), record.turns[1].parts[0]
    assert isinstance(seen, TimeSeries)
    assert isinstance(answer, Target)
    assert answer.head is None
    assert seen.values.dtype == answer.value.dtype == np.float32
    return seen.values[:, 0], answer.value[:, 0]


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("sunspots", lambda: sunspots.load_pandas().data["SUNACTIVITY"].to_list()),
        ("elnino", lambda: [month for year in elnino.load_pandas().data.values.tolist() for month in year[1:]]),
    ],
)
def test_series_are_statsmodels(name: str, published: Any) -> None:
    values = np.array(published())
    border = int(0.8 * len(values))
    scaled = (values - np.mean(values[:border])) / np.std(values[:border])
    train, test = (
        everything(series(series=[name], part=part, context_length=40, horizon=8)) for part in ("train", "test")
    )
    assert len(train) == border - 40 - 8 + 1
    assert len(test) == len(values) - border - 8 + 1
    for record, at in ((train[0], 40), (train[-1], border - 8), (test[0], border), (test[-1], len(values) - 8)):
        seen, ahead = window(record)
        assert record.key == f"measured_series: {name} from point {at} on"
        np.testing.assert_allclose(seen, scaled[at - 40 : at], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(ahead, scaled[at : at + 8], rtol=1e-5, atol=1e-5)


def test_all_series_are_finite_and_strides_thin_them() -> None:
    dense, thin = everything(series()), everything(series(stride=10))
    assert {record.key.split()[1] for record in thin} == {"sunspots", "co2", "elnino"}
    assert all(np.isfinite(window(record)[0]).all() and np.isfinite(window(record)[1]).all() for record in dense)
    assert 9 < len(dense) / len(thin) < 11


def test_repeating_the_last_point_is_beatable() -> None:
    """A ridge regression on normalized windows halves the error of the baseline at least."""

    def table(part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        seen, ahead = (np.stack(values) for values in zip(*map(window, everything(series(part=part))), strict=True))
        return seen, ahead, seen.mean(1, keepdims=True), seen.std(1, keepdims=True)

    seen, ahead, mean, scale = table("train")
    inputs = np.c_[(seen - mean) / scale, np.ones(len(seen))]
    weights = np.linalg.solve(inputs.T @ inputs + 3 * np.eye(inputs.shape[1]), inputs.T @ ((ahead - mean) / scale))
    seen, ahead, mean, scale = table("test")
    forecast = np.c_[(seen - mean) / scale, np.ones(len(seen))] @ weights * scale + mean
    assert np.mean((forecast - ahead) ** 2) < 0.5 * np.mean((seen[:, -1:] - ahead) ** 2)


def test_too_short_series() -> None:
    with pytest.raises(DataError, match=r"the test part of sunspots \(62 points\) holds no window of 96 \+ 63"):
        series(part="test", horizon=63)
