"""Where sequences begin and end, for the token that stands before each of them.

B = rows, T = tokens, D = hidden size, S = rows or packed sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from modrwkv_core.errors import ComponentError

__all__ = ["Packing", "Tail", "last_tokens"]


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """Where several sequences lie, one after the other, in a single row.

    Attributes:
        bounds: ``[S + 1]``, int64, on the CPU: where each begins, and the end of the last.
        first: ``[S]``: index of the first token of each.
        last: ``[S]``: index of the last token of each.
    """

    bounds: Tensor
    first: Tensor
    last: Tensor

    @classmethod
    def of(cls, cu_seqlens: Tensor, x_BTD: Tensor) -> Self:
        """Check ``cu_seqlens`` against the packed vectors ``x_BTD``.

        Raises:
            ComponentError: There is more than one row, or the bounds do not cut its tokens into sequences of at least
                one token each.
        """
        bounds = cu_seqlens.to("cpu", torch.int64)
        rows, tokens, _ = x_BTD.shape
        if rows != 1:
            raise ComponentError(f"packed sequences lie in one row, but there are {rows}", component="backbone/rwkv7")
        if (
            bounds.dim() != 1
            or len(bounds) < 2
            or bounds[0] != 0
            or bounds[-1] != tokens
            or not (bounds.diff() > 0).all()
        ):
            raise ComponentError(
                f"cu_seqlens must rise from 0 to the {tokens} tokens given, but is {bounds.tolist()}",
                component="backbone/rwkv7",
            )
        on_device = bounds.to(x_BTD.device)
        return cls(bounds, on_device[:-1], on_device[1:] - 1)


def last_tokens(x_BTD: Tensor, packing: Packing | None) -> Tensor:
    """Return the last token of each row or packed sequence, ``[S, D]``."""
    return x_BTD[:, -1] if packing is None else x_BTD[0, packing.last]


class Tail:
    """The last two tokens of each row or packed sequence, the last and the one that it is mixed with.

    Args:
        packing: Where sequences lie, if several are packed.
    """

    def __init__(self, packing: Packing | None) -> None:
        self._tokens: Tensor | None = None
        if packing is not None:
            # The only token of a sequence is taken twice; the first time it stands behind what came before the
            # sequence.
            self._tokens = torch.stack((torch.maximum(packing.first, packing.last - 1), packing.last), dim=1)
            self._rows = torch.arange(len(self._tokens), device=self._tokens.device)
            self._place = (packing.first != packing.last).long()

    def of(self, x_BT: Tensor) -> Tensor:
        """Take them from ``[B, T, ...]``: ``[S, 2, ...]``, or ``[B, 1, ...]`` where there is one token."""
        return x_BT[:, -2:] if self._tokens is None else x_BT[0, self._tokens]

    def last(self, x_S2D: Tensor) -> Tensor:
        """Take the last token from what was made of them: ``[S, D]``."""
        return x_S2D[:, -1] if self._tokens is None else x_S2D[self._rows, self._place]
