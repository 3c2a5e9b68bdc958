"""The forecast head.

n = queries, H = horizon, C = channels, D = hidden size of the backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modrwkv_core.heads.config import ForecastConfig
from modrwkv_core.heads.instance_norm import InstanceNorm
from modrwkv_core.interfaces.component import Backbone, Query, QueryHead

__all__ = ["ForecastHead"]

LOSSES: Final = {"mse": nn.MSELoss, "mae": nn.L1Loss, "huber": nn.HuberLoss}


class ForecastHead(QueryHead[ForecastConfig]):
    """Continues a series by ``horizon`` points from the one hidden vector at the query.

    A layer norm and a linear map give the points in units of the context's own statistics, which put them back into
    the units of the input. The map begins small, so that an untrained head repeats the context's mean or last point.
    """

    def __init__(self, config: ForecastConfig, backbone: Backbone[Any]) -> None:
        super().__init__(config, backbone)
        self.norm = nn.LayerNorm(backbone.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.project = nn.Linear(backbone.hidden_size, config.horizon * config.channels)
        nn.init.normal_(self.project.weight, std=0.1 / backbone.hidden_size**0.5)
        nn.init.zeros_(self.project.bias)
        self.instance_norm = InstanceNorm(config.channels, config.statistics, config.min_scale)
        self.pointwise_loss = LOSSES[config.loss](reduction="none")

    def supervise(self, hidden: Tensor, queries: Sequence[Query]) -> Tensor:
        """Return the mean over queries of the mean error of a query's points.

        Errors are in units of the standard deviation of the query's series.

        Args:
            hidden: ``[n, D]``.
            queries: n queries; a target may have fewer points than the horizon. Channels that are constant in the
                series have no unit to measure an error in and carry no weight.

        Returns:
            A scalar, float32.
        """
        assert len(hidden) == len(queries) > 0, f"{len(hidden)} hidden vectors for {len(queries)} queries"
        statistics = self.instance_norm.statistics([query.signal for query in queries])
        target_nHC, known_nHC = self._pad([query.target for query in queries], hidden.device)
        known_nHC = known_nHC & ~statistics.constant
        error_nHC = self.pointwise_loss(self._normalized(hidden), statistics.normalize(target_nHC))
        points_n = known_nHC.sum((1, 2))
        means_n: Tensor = error_nHC.masked_fill(~known_nHC, 0.0).sum((1, 2)) / points_n.clamp(min=1)
        return means_n.sum() / (points_n > 0).sum().clamp(min=1)

    def predict(self, hidden: Tensor, queries: Sequence[Query]) -> list[NDArray[np.float32]]:
        """Continue the series of n queries, in their own units.

        Args:
            hidden: ``[n, D]``, the backbone's output at the queries.
            queries: n queries about series ``[points, C]``.

        Returns:
            n arrays ``[H, C]``.
        """
        assert len(hidden) == len(queries) > 0, f"{len(hidden)} hidden vectors for {len(queries)} queries"
        statistics = self.instance_norm.statistics([query.signal for query in queries])
        return list(statistics.denormalize(self._normalized(hidden)).detach().cpu().numpy())

    def _normalized(self, hidden_nD: Tensor) -> Tensor:
        normed_nD = self.norm(hidden_nD.to(self.norm.weight.dtype))
        points_nHC = self.project(self.dropout(normed_nD)).unflatten(-1, (self.config.horizon, self.config.channels))
        normalized_nHC: Tensor = self.instance_norm(points_nHC).float()
        return normalized_nHC

    def _pad(self, targets: Sequence[NDArray[np.float32]], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the targets padded to the horizon, and where they are known; both ``[n, H, C]``."""
        shape = (len(targets), self.config.horizon, self.config.channels)
        values_nHC, known_nHC = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.bool_)
        for index, target in enumerate(targets):
            values_nHC[index, : len(target)], known_nHC[index, : len(target)] = target, True
        return torch.from_numpy(values_nHC).to(device), torch.from_numpy(known_nHC).to(device)
