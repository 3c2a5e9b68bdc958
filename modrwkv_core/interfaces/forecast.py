"""The values that a forecast and the truth about it are. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Continuation", "Forecast"]


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """The continuation of a series. Where NumPy expects an array, it counts as its points.

    Attributes:
        points: ``[horizon, channels]``, in the units of the series; the median where there are quantiles.
        quantiles: By level, which is the probability that the true value lies at the quantile or below: an array of the
            shape of ``points``. Levels ascend between 0 and 1. Empty where the head gives only points.

    Raises:
        ValueError: Levels or shapes are not like that.
    """

    points: NDArray[np.float32]
    quantiles: Mapping[float, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(low < high for low, high in pairwise((0.0, *self.quantiles, 1.0))):
            raise ValueError(f"the levels {list(self.quantiles)} do not ascend between 0 and 1")
        for level, values in self.quantiles.items():
            if values.shape != self.points.shape:
                raise ValueError(f"quantile {level} has the shape {values.shape}, the points {self.points.shape}")

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the points, as :func:`numpy.asarray` asks for them."""
        return np.array(self.points, dtype=dtype, copy=copy)


@dataclass(frozen=True, slots=True, eq=False)
class Continuation:
    """The true continuation of a series. Where NumPy expects an array, it counts as its values.

    Attributes:
        values: ``[horizon, channels]``, in the units of the series.
        past: The series before it, ``[points, channels]``: what metrics scale errors by.
    """

    values: NDArray[np.float32]
    past: NDArray[np.float32]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return the values, as :func:`numpy.asarray` asks for them."""
        return np.array(self.values, dtype=dtype, copy=copy)
