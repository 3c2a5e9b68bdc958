"""The shuffle.

N = items, L = features of the longest item, M = squares of the longest item, D = dimension in, E = dimension out.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from modrwkv_core.interfaces.component import Compressor
from modrwkv_core.interfaces.values import Features
from modrwkv_pixel_shuffle.config import PixelShuffleConfig

__all__ = ["PixelShuffleCompressor"]


class PixelShuffleCompressor(Compressor[PixelShuffleConfig]):
    """Puts squares of neighbours side by side; has no weights.

    Source: InternVL 1.5, arXiv 2404.16821; within a feature the square goes row by row, as in Idefics3,
    arXiv 2408.12637.
    """

    def forward(self, features: Features) -> Features:
        """Compress ``features``, ``[N, L, in_dim]`` to ``[N, M, in_dim * factor ** 2]``.

        Raises:
            ComponentError: An item is no grid, or the factor does not divide its sides.
        """
        lengths = features.lengths.tolist()
        items = [self._shuffle(x_LD[:length]) for x_LD, length in zip(features.values, lengths, strict=True)]
        return Features(pad_sequence(items, batch_first=True), torch.tensor([len(item) for item in items]))

    def _shuffle(self, x_LD: Tensor) -> Tensor:
        """Return the squares of one item, ``[M, E]``."""
        length, width = x_LD.shape
        if length == 0:
            return x_LD.new_zeros(0, self.config.out_dim(width))
        factor = self.config.factor
        rows, columns = self.config.sides(length)
        squares = x_LD.reshape(rows // factor, factor, columns // factor, factor, width).transpose(1, 2)
        return squares.reshape(-1, factor * factor * width)
