"""Windows of measured series that statsmodels ships."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from statsmodels.datasets import co2, elnino, sunspots

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Record, Target, Turn
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.interfaces.source import Source
from modrwkv_demo.config import MeasuredSeriesConfig

__all__ = ["MeasuredSeriesSource"]

TRAIN_SHARE: Final = 0.8


def _sunspots() -> NDArray[np.float64]:
    return np.asarray(sunspots.load_pandas().data["SUNACTIVITY"], dtype=np.float64)


def _co2() -> NDArray[np.float64]:
    """Weeks without a measurement are filled from their neighbours, linearly."""
    return np.asarray(co2.load_pandas().data["co2"].interpolate(), dtype=np.float64)


def _elnino() -> NDArray[np.float64]:
    """The table has a row for each year, the year first, then its months."""
    return np.asarray(elnino.load_pandas().data, dtype=np.float64)[:, 1:].ravel()


_LOADERS: Final[dict[str, Callable[[], NDArray[np.float64]]]] = {
    "sunspots": _sunspots,
    "co2": _co2,
    "elnino": _elnino,
}


@dataclass(frozen=True, slots=True)
class _Window:
    """Where a forecast begins."""

    series: str
    at: int


class MeasuredSeriesSource(Source[MeasuredSeriesConfig]):
    """Shows ``context_length`` points of a series and asks the head ``forecast`` for the ``horizon`` points after them.

    Windows of the test part may reach back into the training part, but no forecast of one lies in the other.

    Raises:
        DataError: A series is too short for a single window.
    """

    def __init__(self, config: MeasuredSeriesConfig) -> None:
        super().__init__(config)
        self._values: dict[str, NDArray[np.float32]] = {}
        self._windows: list[_Window] = []
        for name in config.series:
            values = _LOADERS[name]()
            border = int(TRAIN_SHARE * len(values))
            known = values[:border]
            # In units of the training part's deviation, so that its spread is 1.
            self._values[name] = ((values - known.mean()) / known.std()).astype(np.float32)
            start, stop = (border, len(values)) if config.part == "test" else (0, border)
            places = range(max(start, config.context_length), stop - config.horizon + 1, config.stride)
            if not places:
                raise DataError(
                    f"the {config.part} part of {name} ({stop - start} points) holds no window of "
                    f"{config.context_length} + {config.horizon}",
                    hint="take a smaller context_length or horizon, or leave the series out",
                )
            self._windows += [_Window(name, at) for at in places]

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> Record:
        window = self._windows[index]
        values = self._values[window.series][:, None]
        context = values[window.at - self.config.context_length : window.at]
        seen = Media("series", TimeSeries(context, spread=np.ones(1, np.float32)))
        ahead = Target(None, values[window.at : window.at + self.config.horizon])
        return Record(
            f"measured_series: {window.series} from point {window.at} on",
            (Turn("user", (seen,)), Turn("assistant", (ahead,))),
        )
