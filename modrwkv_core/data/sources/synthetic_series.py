"""Series drawn from Gaussian processes, for pre-training forecasts.

F = random frequencies, A = blocks of points, B = points of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from modrwkv_core.data.sources.config import SyntheticSeriesConfig
from modrwkv_core.interfaces.record import Media, Part, Record, Target, Text, Turn
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.interfaces.source import Source

__all__ = ["SyntheticSeriesSource", "linear", "periodic", "rational_quadratic", "rbf"]

Array = NDArray[np.float64]

Kernel = Callable[[Generator, int], Array]
"""Draws angular frequencies ``[F]`` from the spectral density of a stationary kernel."""

FREQUENCIES: Final = 128
"""Waves that a process is the sum of; enough for its values to look normal."""

_GRID: Final = 128
"""Points of a period on which the spectrum of a periodic kernel is computed."""


def rbf(length: float) -> Kernel:
    """Return ``exp(-d**2 / (2 length**2))``, d points apart."""
    return lambda rng, count: rng.normal(0.0, 1.0 / length, size=count)


def rational_quadratic(length: float, alpha: float) -> Kernel:
    """Return ``(1 + d**2 / (2 alpha length**2)) ** -alpha``: a mixture of ``rbf`` of all lengths."""
    return lambda rng, count: rng.normal(size=count) * np.sqrt(rng.gamma(alpha, 1.0 / alpha, size=count)) / length


def periodic(period: float, smoothness: float) -> Kernel:
    """Return ``exp(-2 sin(pi d / period)**2 / smoothness**2)``."""
    spectrum = np.fft.fft(np.exp(-2.0 * np.sin(np.pi * np.arange(_GRID) / _GRID) ** 2 / smoothness**2)).real
    weights = np.maximum(spectrum, 0.0) / np.maximum(spectrum, 0.0).sum()
    harmonics = np.fft.fftfreq(_GRID, 1.0 / _GRID)
    return lambda rng, count: 2.0 * np.pi / period * rng.choice(harmonics, size=count, p=weights)


def linear(points: Array, center: float, span: float) -> Array:
    """Return the factor of a process whose kernel is multiplied by ``(s - center) * (t - center) / span**2``."""
    return (points - center) / span


class SyntheticSeriesSource(Source[SyntheticSeriesConfig]):
    """Shows ``context_length`` points of a random series and asks a head for the next ``horizon`` points.

    A series is a draw from a Gaussian process. Its kernel is a random number of base kernels, each added to those
    before it or multiplied with them: periodic, linear, of smooth change (RBF), and of change at all scales (rational
    quadratic). White noise is added. Records depend on the seed and their index alone.

    Processes are sums of random waves, which have the covariance of the kernel exactly: the spectral density of a
    product of kernels is the convolution of theirs, so that frequencies add. This takes a time that grows with the
    points, not with their cube.

    Source: KernelSynth of Chronos, Ansari et al., arXiv 2403.07815, algorithm 2; random waves: Rahimi and Recht, NIPS
    2007.
    """

    def __len__(self) -> int:
        return self.config.count

    def __getitem__(self, index: int) -> Record:
        config = self.config
        values = self._series(np.random.default_rng((config.seed, index))).astype(np.float32)[:, None]
        seen, ahead = values[: config.context_length], values[config.context_length :]
        # The spread of the whole series, of which the context is a part, as of a table's training rows.
        spread = values.std(axis=0)
        question: list[Part] = [Media("series", TimeSeries(seen, spread))]
        if config.prompt:
            question.append(Text(config.prompt))
        turns = (Turn("user", tuple(question)), Turn("assistant", (Target(config.head, ahead),)))
        return Record(f"synthetic series {index}", turns)

    def _series(self, rng: Generator) -> Array:
        points = np.arange(self.config.context_length + self.config.horizon, dtype=np.float64)
        terms: list[tuple[list[Kernel], Array]] = []
        for _ in range(int(rng.integers(1, self.config.max_kernels + 1))):
            kernels, factor = self._base_kernel(rng, points)
            if not terms or rng.random() < 0.5:
                terms.append((kernels, factor))
            else:
                terms = [([*before, *kernels], scale * factor) for before, scale in terms]
        series: Array = rng.uniform(0.0, self.config.max_noise) * rng.normal(size=len(points))
        for kernels, factor in terms:
            series += factor * _waves(len(points), kernels, rng)
        return series

    def _base_kernel(self, rng: Generator, points: Array) -> tuple[list[Kernel], Array]:
        """Draw a kernel: its stationary part, none if it is constant, and the factor of a linear one."""
        size, one = len(points), np.ones(len(points))
        length = size * float(np.exp(rng.uniform(np.log(0.01), 0.0)))
        match rng.choice(["periodic", "periodic", "linear", "rbf", "rational_quadratic"]):
            case "periodic":
                return [periodic(float(rng.choice(self.config.periods)), float(rng.uniform(0.5, 2.0)))], one
            case "linear":
                return [], linear(points, float(rng.uniform(0.0, size)), size / 2)
            case "rbf":
                return [rbf(length)], one
            case _:
                return [rational_quadratic(length, float(rng.choice([0.1, 1.0, 10.0])))], one


def _waves(count: int, kernels: list[Kernel], rng: Generator) -> Array:
    """Draw ``count`` points of a process whose kernel is the product of ``kernels``; of none, a constant."""
    frequencies_F = sum((kernel(rng, FREQUENCIES) for kernel in kernels), np.zeros(FREQUENCIES))
    phases_F = rng.uniform(0.0, 2.0 * np.pi, size=FREQUENCIES)
    # exp(i w (a + b)) is a product: rows of blocks times places in a block are all points by one matrix product.
    block = int(np.ceil(np.sqrt(count)))
    starts_AF = np.exp(1j * (np.arange(0, count, block)[:, None] * frequencies_F + phases_F))
    places_BF = np.exp(1j * np.arange(block)[:, None] * frequencies_F)
    drawn: Array = (starts_AF @ places_BF.T).real.ravel()[:count] * np.sqrt(2.0 / FREQUENCIES)
    return drawn
