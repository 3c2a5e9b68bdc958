"""Augmentations of series."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from modrwkv_core.augmentations.config import FlipConfig, JitterConfig, ScalingConfig, TSMixConfig, WindowMaskConfig
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.augmentation import LabeledSignal, Others, SampleAugmentation, SignalAugmentation
from modrwkv_core.interfaces.signals import TimeSeries

__all__ = ["Flip", "Jitter", "Scaling", "TSMix", "WindowMask"]

Labeled = LabeledSignal[TimeSeries]


class Flip(SampleAugmentation[FlipConfig, TimeSeries]):
    """Turns a series and its targets upside down."""

    def __call__(self, sample: Labeled, rng: Generator, others: Others) -> Labeled:
        """Return the series and the targets times -1.

        Raises:
            DataError: A target is not numbers for the series' channels.
        """
        signal = sample.signal
        targets = tuple(-_points(target, signal.values.shape[1]) for target in sample.targets)
        return LabeledSignal(replace(signal, values=-signal.values), targets)


class Jitter(SignalAugmentation[JitterConfig, TimeSeries]):
    """Adds normal noise to each point."""

    def __call__(self, signal: TimeSeries, rng: Generator) -> TimeSeries:
        """Return a series of the same shape; constant channels stay constant."""
        values = signal.values.astype(np.float64)
        noise = rng.normal(size=values.shape) * self.config.sigma * values.std(axis=0)
        return replace(signal, values=(values + noise).astype(np.float32))


class Scaling(SampleAugmentation[ScalingConfig, TimeSeries]):
    """Multiplies each channel of a series and its targets by one factor."""

    def __call__(self, sample: Labeled, rng: Generator, others: Others) -> Labeled:
        """Return the scaled series and targets.

        Raises:
            DataError: A target is not numbers for the series' channels.
        """
        values = sample.signal.values
        factors = rng.lognormal(0.0, self.config.sigma, size=values.shape[1])
        targets = tuple(_points(target, values.shape[1]) * factors for target in sample.targets)
        spread = None if sample.signal.spread is None else (sample.signal.spread * factors).astype(np.float32)
        return LabeledSignal(TimeSeries((values * factors).astype(np.float32), spread), targets)


class TSMix(SampleAugmentation[TSMixConfig, TimeSeries]):
    """Mixes a series with others of its source."""

    def __call__(self, sample: Labeled, rng: Generator, others: Others) -> Labeled:
        """Return the mixed series and targets; the sample itself if none of the others has its shape.

        Raises:
            DataError: A target is not numbers for the series' channels.
        """
        count = int(rng.integers(2, self.config.series + 1))
        parts = [_stretches(sample)]
        for _ in range(count - 1):
            other = others()
            if other is not None and _shapes(part := _stretches(other)) == _shapes(parts[0]):
                parts.append(part)
        weights = rng.dirichlet([self.config.alpha] * len(parts))
        units = [_unit(part[0]) for part in parts]
        scaled = [
            weight * units[0] / unit * stretch
            for weight, unit, part in zip(weights, units, parts, strict=True)
            for stretch in part
        ]
        mixed = [sum(scaled[place :: len(parts[0])]) for place in range(len(parts[0]))]
        signal = replace(sample.signal, values=np.asarray(mixed[0], dtype=np.float32))
        return LabeledSignal(signal, tuple(mixed[1:]))


class WindowMask(SignalAugmentation[WindowMaskConfig, TimeSeries]):
    """Replaces windows by the mean."""

    def __call__(self, signal: TimeSeries, rng: Generator) -> TimeSeries:
        """Return a series of the same shape."""
        values = signal.values.copy()
        points = len(values)
        mean = signal.values.mean(axis=0, dtype=np.float64)
        for _ in range(self.config.windows):
            length = int(rng.integers(1, max(int(self.config.max_share * points), 1) + 1))
            start = int(rng.integers(points - length + 1))
            values[start : start + length] = mean
        return replace(signal, values=values)


def _stretches(sample: Labeled) -> list[NDArray[np.float64]]:
    """Return a series and its targets as arrays ``[points, channels]``."""
    values = sample.signal.values
    return [values.astype(np.float64), *(_points(target, values.shape[1]) for target in sample.targets)]


def _shapes(stretches: list[NDArray[np.float64]]) -> list[tuple[int, ...]]:
    return [stretch.shape for stretch in stretches]


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean absolute value of each channel; 1 where all are 0."""
    unit = np.abs(values).mean(axis=0)
    return np.where(unit > 0.0, unit, 1.0)


def _points(target: Any, channels: int) -> NDArray[np.float64]:
    """Return a target as ``[points, channels]``."""
    try:
        points = np.asarray(target, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError("a target is not numbers in rows of equal lengths") from error
    points = points[:, None] if points.ndim == 1 else points
    if points.ndim != 2 or points.shape[1] != channels:
        raise DataError(
            f"a target has the shape {list(points.shape)}, the series has {channels} channels",
            hint="give the target as [points, channels]; a target that is no continuation cannot be augmented",
        )
    return points
