from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modrwkv_core.interfaces.signals import Image, TimeSeries, Waveform
from modrwkv_core.testing.signals import broken, odd


def test_a_series_is_broken_in_three_ways() -> None:
    series = TimeSeries(np.ones((4, 2), np.float32))
    variants = {what: signal.values for what, signal in broken(series)}
    assert list(variants) == ["nothing in it", "one value nan", "one value inf"]
    assert variants["nothing in it"].shape == (0, 2)
    assert np.isnan(variants["one value nan"][2]).all()
    assert np.isfinite(variants["one value nan"][[0, 1, 3]]).all()
    assert np.isfinite(series.values).all()


def test_whole_numbers_are_never_nan() -> None:
    assert [what for what, _ in broken(Image(np.ones((3, 4, 3), np.uint8)))] == ["nothing in it"]


def test_odd_variants_keep_the_rest_of_the_signal() -> None:
    waveform = Waveform(np.arange(1.0, 5.0, dtype=np.float32), 8000)
    variants = dict(odd(waveform))
    assert {signal.rate for signal in variants.values()} == {8000}
    assert variants["one step only"].samples.tolist() == [1.0]
    assert variants["all values equal"].samples.tolist() == [0.0] * 4
    assert variants["another order in memory"].samples.strides[0] < 0
    assert not variants["an array that cannot be written"].samples.flags.writeable
    assert variants["huge values"].samples.dtype == np.float32
    assert "twice as wide" not in variants
    assert dict(odd(TimeSeries(np.ones((3, 2), np.float32))))["twice as wide"].values.shape == (3, 4)


def test_of_several_arrays_the_largest_holds_the_data() -> None:
    @dataclass(frozen=True)
    class Clip:
        times: np.ndarray
        frames: np.ndarray
        title: str = "a clip"

    clip = Clip(np.zeros(2), np.zeros((2, 4, 4, 3), np.uint8))
    [(_, empty)] = broken(clip)
    assert (len(empty.frames), len(empty.times)) == (0, 2)


def test_what_holds_no_array_has_no_variants() -> None:
    assert [*broken("text"), *odd("text"), *broken(3.0)] == []
