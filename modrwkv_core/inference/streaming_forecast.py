"""Forecasts of a series that is still being measured.

Legend of shape suffixes: C channels.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modrwkv_core.errors import DataError, ModRWKVError
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.config import ForecastHeadConfig
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.signals import TimeSeries

__all__ = ["ForecastStream"]


class ForecastStream:
    """Takes points as they come, and forecasts at any time.

    It holds the latest ``context_length`` points and the running spread of all of them. Memory and the cost of a point
    do not depend on how many came before. A forecast reads ``context_length`` points anew: no state of the model is
    carried on, since heads read each context in units of its own mean and deviation, which every point changes.

    Forecasts are those of :meth:`~modrwkv_core.inference.session.Session.forecast` for the whole series, where the head
    has this context length.

    Args:
        session: The model.
        head: Name of the forecast head; None takes the only one.
        context_length: Latest points that a forecast is made from; by default the head's.

    Raises:
        ModRWKVError: There is no such head; neither it nor the caller limits the context, or the caller's is longer.
    """

    def __init__(self, session: Session, head: str | None = None, *, context_length: int | None = None) -> None:
        self._session = session
        self.head = session.head_names.forecast(head)
        config = session.model.query_heads()[self.head].config
        assert isinstance(config, ForecastHeadConfig)
        length = context_length if context_length is not None else config.context_length
        if length is None:
            raise ModRWKVError(
                f"the head {self.head} reads all points of a series, which a stream cannot keep",
                hint="give a context_length, for example that of the training windows",
            )
        if not 1 <= length <= (config.context_length or length):
            raise ModRWKVError(
                f"context_length is {length}",
                hint=f"it must be 1 or more, and at most the head's {config.context_length}",
            )
        self.context_length = length
        self.points = 0
        """Points that came so far."""
        self._latest: deque[NDArray[np.float32]] = deque(maxlen=length)
        self._mean_C = np.zeros(0)
        self._deviations_C = np.zeros(0)  # sum of squared deviations from the mean

    def append(self, point: ArrayLike) -> None:
        """Take one point: a number, or ``[channels]``.

        Raises:
            DataError: It has another number of channels than the first, or is not finite.
        """
        point_C = np.atleast_1d(np.array(point, dtype=np.float32))
        if point_C.ndim != 1 or point_C.size == 0 or (self.points and len(point_C) != len(self._mean_C)):
            channels = f"{len(self._mean_C)} numbers" if self.points else "a number or [channels]"
            raise DataError(
                f"point {self.points} has the shape {list(np.shape(point))}, not {channels}",
                hint="give one number for each channel of the series",
            )
        if not np.isfinite(point_C).all():
            raise DataError(
                f"point {self.points} holds NaN or infinity", hint="fill missing values before you give the point"
            )
        if not self.points:
            self._mean_C = np.zeros(len(point_C))
            self._deviations_C = np.zeros(len(point_C))
        self.points += 1
        self._latest.append(point_C)
        # Welford's algorithm: exact enough for any number of points.
        before_C = point_C - self._mean_C
        self._mean_C = self._mean_C + before_C / self.points
        self._deviations_C = self._deviations_C + before_C * (point_C - self._mean_C)

    def forecast(self, horizon: int) -> Forecast:
        """Continue the series by ``horizon`` points, ``[horizon, channels]``, in its own units.

        Raises:
            DataError: No point has come yet, or too few for the model.
        """
        if not self.points:
            raise DataError("no point has come yet", hint="append points before you ask for a forecast")
        spread_C = np.sqrt(self._deviations_C / self.points).astype(np.float32)
        return self._session.forecast(TimeSeries(np.stack(self._latest), spread_C), horizon, self.head)
