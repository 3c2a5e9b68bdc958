"""The last tokens of each sequence, for the states and for prefill.

B = batch size, T = tokens, D = hidden size, S = batch size or packed sequences.
"""

from __future__ import annotations

import torch
from modrwkv_kernels import CuSeqlens
from torch import Tensor

__all__ = ["Tail", "last_tokens"]


def last_tokens(x_BTD: Tensor, cu_seqlens: CuSeqlens | None) -> Tensor:
    """Return the last token of each sequence, ``[S, D]``."""
    return x_BTD[:, -1] if cu_seqlens is None else x_BTD[0, cu_seqlens.last]


class Tail:
    """The last two tokens of each sequence: the last one and the one that it is mixed with.

    Args:
        cu_seqlens: Where packed sequences lie; None for a batch of sequences of one length.
    """

    def __init__(self, cu_seqlens: CuSeqlens | None) -> None:
        self._tokens: Tensor | None = None
        if cu_seqlens is not None:
            first, last = cu_seqlens.first, cu_seqlens.last
            # The only token of a sequence is taken twice; the first time in the place of the token before the sequence.
            self._tokens = torch.stack((torch.maximum(first, last - 1), last), dim=1)
            self._sequences = torch.arange(len(self._tokens), device=self._tokens.device)
            self._place = (first != last).long()

    def of(self, x_BT: Tensor) -> Tensor:
        """Take them from ``[B, T, ...]``: ``[S, 2, ...]``, or ``[B, 1, ...]`` where there is one token."""
        return x_BT[:, -2:] if self._tokens is None else x_BT[0, self._tokens]

    def last(self, x_S2D: Tensor) -> Tensor:
        """Take the last token from what was computed of them: ``[S, D]``."""
        return x_S2D[:, -1] if self._tokens is None else x_S2D[self._sequences, self._place]
