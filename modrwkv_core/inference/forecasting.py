"""Forecasts: the series is heard as media, the forecast head answers at the query token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.packing import pack
from modrwkv_core.heads.forecast import ForecastHead
from modrwkv_core.interfaces.record import Media, Turn
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.model.multimodal import MultimodalModel

__all__ = ["forecast_series"]


def forecast_series(
    model: MultimodalModel,
    conversations: ConversationEncoder,
    series: Sequence[NDArray[np.float32]],
    horizon: int,
) -> list[NDArray[np.float32]]:
    """Continue each series ``[points, channels]`` by ``horizon`` points, each channel by itself.

    Beyond the head's own horizon, its forecast is appended to the series and the head is asked again.
    """
    head = model.heads["forecast"]
    assert isinstance(head, ForecastHead)
    channels = [channel for values in series for channel in np.asarray(values, dtype=np.float32).T]
    histories = channels
    for _ in range(-(-horizon // head.config.horizon)):
        forecasts = _ask(model, head, conversations, histories)
        histories = [np.concatenate([history, new]) for history, new in zip(histories, forecasts, strict=True)]
    continued = iter(
        history[len(channel) : len(channel) + horizon] for history, channel in zip(histories, channels, strict=True)
    )
    return [np.stack([next(continued) for _ in range(values.shape[1])], axis=1) for values in series]


def _ask(
    model: MultimodalModel,
    head: ForecastHead,
    conversations: ConversationEncoder,
    histories: Sequence[NDArray[np.float32]],
) -> NDArray[np.float32]:
    prompts = []
    for history in histories:
        context = history[-head.config.context_length :] if head.config.context_length is not None else history
        media = Media("series", TimeSeries(context[:, None]))
        prompts.append(conversations.prompt((Turn("user", (media,)),), head="forecast"))
    batch = pack(prompts)
    queries = batch.queries["forecast"]
    with torch.inference_mode():
        hidden, _ = model(batch)
        positions = torch.tensor([query.position for query in queries], device=hidden.device)
        forecasts = head.forecast(hidden[0, positions], [query.context for query in queries])
    result: NDArray[np.float32] = forecasts[:, :, 0].float().cpu().numpy()
    return result
