"""Forecasts: a forecast head continues the latest series of a conversation.

Legend of shape suffixes: P points of the history, H points of one prediction, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.packing import pack
from modrwkv_core.errors import ComponentError, DataError
from modrwkv_core.interfaces.config import ForecastHeadConfig
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.record import Media, Turn
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.model.multimodal import MultimodalModel

__all__ = ["forecast_series"]


def forecast_series(
    model: MultimodalModel,
    conversations: ConversationEncoder,
    prompts: Sequence[Sequence[Turn]],
    horizon: int,
    head: str,
) -> list[Forecast]:
    """Continue the latest series of each prompt by ``horizon`` points.

    A head of one channel continues each column by itself. Beyond the head's own horizon, the points of its forecast are
    appended to the series and the head is asked again; the quantiles of later points are then those given these points,
    which are too close to each other. The spread of a series that does not bring its own is the standard deviation
    of all its points, of which the head may see only the latest.

    Args:
        model: The model, in eval mode.
        conversations: Encodes conversations for it.
        prompts: Conversations that hold a series and end with the user's turn.
        horizon: Points to forecast.
        head: Name of a head whose configuration is a ``ForecastHeadConfig``.

    Returns:
        For each prompt a forecast ``[horizon, columns]``, in the units of its series, with the head's quantiles.

    Raises:
        DataError: A prompt has no series, or one that the head cannot continue.
        ComponentError: The head's prediction is not an array of one row for each point, nor a forecast of such arrays.
    """
    config = model.query_heads()[head].config
    assert isinstance(config, ForecastHeadConfig)
    series = [_Series.of(model, turns) for turns in prompts]
    split = [_split(each.signal, config.channels, head) for each in series]
    owners = [index for index, parts in enumerate(split) for _ in parts]
    histories = [part.values for parts in split for part in parts]
    spreads = [_spread(part) for parts in split for part in parts]
    forecasts: list[list[Forecast]] = [[] for _ in histories]
    while sum(len(chunk.points) for chunk in forecasts[0]) < horizon:
        seen = [history[-config.context_length :] if config.context_length else history for history in histories]
        asked = [
            series[owner].replaced(TimeSeries(context, spread))
            for owner, context, spread in zip(owners, seen, spreads, strict=True)
        ]
        batch = pack([conversations.query(turns, head) for turns in asked])
        with torch.inference_mode():
            predictions = model.predict(batch)[head]
        chunks = [_checked(*pair, config) for pair in zip(predictions, histories, strict=True)]
        for chunk, forecast in zip(chunks, forecasts, strict=True):
            forecast.append(chunk)
        histories = [np.concatenate([history, chunk.points]) for history, chunk in zip(histories, chunks, strict=True)]
    parts = [_joined(chunks, axis=0, length=horizon) for chunks in forecasts]
    return [
        _joined([part for part, owner in zip(parts, owners, strict=True) if owner == index], axis=1)
        for index in range(len(prompts))
    ]


@dataclass(frozen=True, slots=True)
class _Series:
    """The latest series of a conversation, and its place."""

    turns: tuple[Turn, ...]
    turn: int
    part: int
    signal: TimeSeries

    @classmethod
    def of(cls, model: MultimodalModel, turns: Sequence[Turn]) -> _Series:
        for turn in range(len(turns) - 1, -1, -1):
            for part in range(len(turns[turn].parts) - 1, -1, -1):
                match turns[turn].parts[part]:
                    case Media(modality="series", media=media):
                        signal = model.preprocessors["series"].modality.decode(media)
                        return cls(tuple(turns), turn, part, signal)
        raise DataError("the conversation holds no series to continue", hint="give one in the user's turn")

    def replaced(self, signal: TimeSeries) -> tuple[Turn, ...]:
        """Return the conversation with ``signal`` in the place of the series."""
        turn = self.turns[self.turn]
        parts = (*turn.parts[: self.part], Media("series", signal), *turn.parts[self.part + 1 :])
        return (*self.turns[: self.turn], Turn(turn.role, parts), *self.turns[self.turn + 1 :])


def _split(series: TimeSeries, channels: int, head: str) -> list[TimeSeries]:
    """Return the series that the head is asked about: the whole, or each column of it."""
    columns = series.values.shape[1]
    if columns == channels:
        return [series]
    if channels == 1:
        spread = series.spread
        return [
            TimeSeries(series.values[:, [column]], None if spread is None else spread[[column]])
            for column in range(columns)
        ]
    raise DataError(
        f"the series has {columns} columns, the head {head} continues {channels} together",
        hint=f"give a series of {channels} columns",
    )


def _spread(series: TimeSeries) -> NDArray[np.float32]:
    if series.spread is not None:
        return series.spread
    spread: NDArray[np.float32] = series.values.std(axis=0, dtype=np.float64).astype(np.float32)
    return spread


def _joined(forecasts: Sequence[Forecast], axis: int, length: int | None = None) -> Forecast:
    """Put forecasts of the same levels together, after each other (axis 0) or side by side (axis 1)."""
    return Forecast(
        np.concatenate([one.points for one in forecasts], axis)[:length],
        {
            level: np.concatenate([one.quantiles[level] for one in forecasts], axis)[:length]
            for level in forecasts[0].quantiles
        },
    )


def _checked(prediction: object, history: NDArray[np.float32], config: ForecastHeadConfig) -> Forecast:
    points = np.asarray(prediction, dtype=np.float32)
    if points.ndim != 2 or not len(points) or points.shape[1] != history.shape[1]:
        raise ComponentError(
            f"a forecast has the shape {list(points.shape)}, not [points, {history.shape[1]}]",
            component=f"head/{config.type}",
            hint="let `predict` return an array [horizon, channels] or a `Forecast` for each query",
        )
    return prediction if isinstance(prediction, Forecast) else Forecast(points)
