"""The forecast head.

n = queries, H = horizon, C = channels, Q = quantiles, 1 for a head of points, D = hidden size of the backbone,
L = context length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from modrwkv_core.heads.config import MEDIAN, ForecastConfig
from modrwkv_core.heads.instance_norm import InstanceNorm, Statistics
from modrwkv_core.interfaces.component import Backbone, Query, QueryHead
from modrwkv_core.interfaces.forecast import Forecast
from modrwkv_core.interfaces.signals import TimeSeries

__all__ = ["ForecastHead", "pinball"]

ERRORS: Final[dict[str, Callable[..., Tensor]]] = {
    "mse": functional.mse_loss,
    "mae": functional.l1_loss,
    "huber": functional.huber_loss,
}


def pinball(forecast: Tensor, target: Tensor, levels: Tensor) -> Tensor:
    """Return twice the pinball loss, element by element: at the median it is the absolute error.

    The mean over many levels approximates the continuous ranked probability score.

    Args:
        forecast: ``[..., Q]``, a quantile for each level.
        target: ``[..., Q]`` or ``[..., 1]``.
        levels: ``[Q]``.

    Source: Koenker and Bassett, Econometrica 1978; the relation to the score: Gneiting and Ranjan, JBES 2011.
    """
    above = target - forecast
    return 2 * torch.maximum(levels * above, (levels - 1) * above)


class ForecastHead(QueryHead[ForecastConfig]):
    """Continues a series by ``horizon`` points from the one hidden vector at the query.

    A layer norm and a linear map give the points in units of the context's own statistics, which put them back into
    the units of the input. The map begins small, so that an untrained head repeats the context's mean or last point.
    Quantiles begin as those of a normal distribution of one unit, and are sorted, so that they never cross.

    With ``residual: linear`` a linear map of the context, in its own units, is added to all of them, and both maps
    begin at zero. What a context lacks of ``context_length`` points counts as its mean or last point.

    Source: sorted quantiles, Chernozhukov et al., Econometrica 2010; the linear map of NLinear, Zeng et al., AAAI 2023.
    """

    levels: Tensor

    def __init__(self, config: ForecastConfig, backbone: Backbone[Any]) -> None:
        super().__init__(config, backbone)
        self.norm = nn.LayerNorm(backbone.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        levels = torch.tensor(config.levels or (MEDIAN,))
        self.register_buffer("levels", levels, persistent=False)
        points = config.horizon * config.channels
        self.project = nn.Linear(backbone.hidden_size, points * len(levels))
        nn.init.normal_(self.project.weight, std=0.1 / backbone.hidden_size**0.5)
        with torch.no_grad():
            self.project.bias.copy_(torch.special.ndtri(levels).repeat(points))
        self.instance_norm = InstanceNorm(config.channels, config.statistics, config.min_scale)
        self.residual: nn.Linear | None = None
        if config.residual == "linear":
            assert config.context_length is not None, "the configuration asks for it"
            self.residual = nn.Linear(config.context_length, config.horizon, bias=False)
            nn.init.zeros_(self.residual.weight)
            nn.init.zeros_(self.project.weight)

    def supervise(self, hidden: Tensor, queries: Sequence[Query]) -> Tensor:
        """Return the mean over queries of the mean error of a query's points, and of their quantiles.

        Errors are in units of the query's series, or of its spread.

        Args:
            hidden: ``[n, D]``.
            queries: n queries; a target may have fewer points than the horizon. Constant channels of no known spread
                have no unit to measure an error in and carry no weight.

        Returns:
            A scalar, float32.
        """
        assert len(hidden) == len(queries) > 0, f"{len(hidden)} hidden vectors for {len(queries)} queries"
        series = [query.signal for query in queries]
        statistics = self.instance_norm.statistics(series)
        target_nHC, known_nHC = self._pad([query.target for query in queries], self.config.horizon, hidden.device)
        known_nHC = known_nHC & ~statistics.constant
        target_nHC1 = statistics.normalize(target_nHC)[..., None]
        forecast_nHCQ = self._normalized(hidden, series, statistics)
        if self.config.loss_unit == "spread":
            unit_n1C1 = _in_spreads(statistics.scale, series)[..., None]
            forecast_nHCQ, target_nHC1 = forecast_nHCQ * unit_n1C1, target_nHC1 * unit_n1C1
        error_nHC = self._error(forecast_nHCQ, target_nHC1).mean(-1)
        points_n = known_nHC.sum((1, 2))
        means_n: Tensor = error_nHC.masked_fill(~known_nHC, 0.0).sum((1, 2)) / points_n.clamp(min=1)
        return means_n.sum() / (points_n > 0).sum().clamp(min=1)

    def predict(self, hidden: Tensor, queries: Sequence[Query]) -> list[NDArray[np.float32]] | list[Forecast]:
        """Continue the series of n queries, in their own units.

        Args:
            hidden: ``[n, D]``, the backbone's output at the queries.
            queries: n queries about series ``[points, C]``.

        Returns:
            n arrays ``[H, C]``; forecasts with quantiles if the configuration has them.
        """
        assert len(hidden) == len(queries) > 0, f"{len(hidden)} hidden vectors for {len(queries)} queries"
        series = [query.signal for query in queries]
        statistics = self.instance_norm.statistics(series)
        forecast_nHCQ = self._normalized(hidden, series, statistics)
        quantiles = [statistics.denormalize(one_nHC) for one_nHC in forecast_nHCQ.unbind(-1)]
        forecast_nQHC = torch.stack(quantiles, dim=1).detach().cpu().numpy()
        if not self.config.levels:
            return list(forecast_nQHC[:, 0])
        by_level = [dict(zip(self.config.levels, one_QHC, strict=True)) for one_QHC in forecast_nQHC]
        return [Forecast(quantiles[MEDIAN], quantiles) for quantiles in by_level]

    def _error(self, forecast_nHCQ: Tensor, target_nHC1: Tensor) -> Tensor:
        if self.config.loss == "quantile":
            return pinball(forecast_nHCQ, target_nHC1, self.levels)
        return ERRORS[self.config.loss](forecast_nHCQ, target_nHC1, reduction="none")

    def _normalized(self, hidden_nD: Tensor, series: Sequence[TimeSeries], statistics: Statistics) -> Tensor:
        """Return the forecasts in units of their series, ``[n, H, C, Q]``."""
        normed_nD = self.norm(hidden_nD.to(self.norm.weight.dtype))
        shape = (self.config.horizon, self.config.channels, len(self.levels))
        forecast_nHCQ = self.project(self.dropout(normed_nD)).unflatten(-1, shape)
        normalized_nHQC: Tensor = self.instance_norm(forecast_nHCQ.transpose(-1, -2)).float()
        sorted_nHCQ = normalized_nHQC.transpose(-1, -2).sort(dim=-1).values
        if self.residual is None:
            return sorted_nHCQ
        length = self.residual.in_features
        latest_nLC, known_nLC = self._pad(
            [one.values[: -length - 1 : -1] for one in series], length, statistics.location.device
        )
        context_nLC = statistics.normalize(latest_nLC).masked_fill(~known_nLC, 0.0).flip(1)
        added_nCH: Tensor = self.residual(context_nLC.transpose(1, 2).to(self.residual.weight.dtype))
        return sorted_nHCQ + added_nCH.float().transpose(1, 2)[..., None]

    def _pad(self, arrays: Sequence[NDArray[np.float32]], length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return arrays of at most ``length`` points padded to it, and where they are known; ``[n, length, C]``."""
        shape = (len(arrays), length, self.config.channels)
        values, known = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.bool_)
        for index, array in enumerate(arrays):
            values[index, : len(array)], known[index, : len(array)] = array, True
        return torch.from_numpy(values).to(device), torch.from_numpy(known).to(device)


def _in_spreads(scale_n1C: Tensor, series: Sequence[TimeSeries]) -> Tensor:
    """Return units of contexts as multiples of the spread that each series brings; 0 where that is 0."""
    spreads = [one.spread for one in series if one.spread is not None]
    assert len(spreads) == len(series), "the configuration refuses series without a spread"
    spread_n1C = torch.from_numpy(np.stack(spreads)).to(scale_n1C)[:, None]
    return (scale_n1C / spread_n1C).masked_fill(spread_n1C == 0.0, 0.0)
