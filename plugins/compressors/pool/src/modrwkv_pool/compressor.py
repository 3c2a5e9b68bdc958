"""The pooling.

N = items, L = features of the longest item, M = windows of the longest item, K = features of a window, D = dimension.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from modrwkv_core.interfaces.component import Compressor
from modrwkv_core.interfaces.values import Features
from modrwkv_pool.config import PoolConfig

__all__ = ["PoolCompressor"]


class PoolCompressor(Compressor[PoolConfig]):
    """Shortens a sequence of features to the means of its windows; has no weights."""

    def forward(self, features: Features) -> Features:
        """Compress ``features``, ``[N, L, in_dim]`` to ``[N, M, in_dim]``."""
        kernel, step = self.config.kernel, self.config.step
        lengths_N = torch.tensor([self.config.out_length(length) for length in features.lengths.tolist()])
        longest = int(lengths_N.max())
        if longest == 0:
            return Features(features.values[:, :0], lengths_N)
        x_NLD = features.with_values(features.values).values
        covered = (longest - 1) * step + kernel
        windows_NMDK = functional.pad(x_NLD, (0, 0, 0, covered - x_NLD.shape[1])).unfold(1, kernel, step)
        # How many features of its item each window has; windows after an item's end have none.
        begins_M = torch.arange(longest) * step
        members_NM = (features.lengths[:, None] - begins_M).clamp(1, kernel)
        means_NMD = windows_NMDK.sum(dim=-1) / members_NM[..., None].to(x_NLD)
        return Features(means_NMD, lengths_N).with_values(means_NMD)
