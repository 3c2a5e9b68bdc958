"""The convolution.

G = grids, R = rows, C = columns, D = dimension in.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from modrwkv_conv2d.config import Conv2dConfig
from modrwkv_core.interfaces.grid_compressor import GridCompressor

__all__ = ["Conv2dCompressor"]


class Conv2dCompressor(GridCompressor[Conv2dConfig]):
    """Shrinks grids of features by a strided convolution.

    The weights begin with variance ``1 / (kernel ** 2 * in_dim)``, so that the outputs keep the scale of the inputs; a
    bias begins at zero.

    Source: Cha et al., Honeybee, arXiv 2312.06742.
    """

    def __init__(self, config: Conv2dConfig, in_dim: int) -> None:
        super().__init__(config, in_dim)
        self.conv = nn.Conv2d(
            in_dim,
            config.out_dim(in_dim),
            config.kernel,
            stride=config.stride,
            padding=config.padding,
            bias=config.bias,
        )
        nn.init.normal_(self.conv.weight, std=1.0 / math.sqrt(config.kernel**2 * in_dim))
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def compress(self, x_GRCD: Tensor) -> Tensor:
        """Convolve grids: ``[G, rows, columns, in_dim]`` to ``[G, rows', columns', out_dim]``."""
        y: Tensor = self.conv(x_GRCD.permute(0, 3, 1, 2))
        return y.permute(0, 2, 3, 1)
