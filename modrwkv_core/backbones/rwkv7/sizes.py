"""The sizes of an RWKV-7: all that its tensors' shapes depend on."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["RWKV7Sizes", "low_rank_dim"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RWKV7Sizes:
    """All sizes of an RWKV-7.

    Attributes:
        vocab: Rows of the embedding and of the output projection; None if something else decides.
        num_layers: Blocks.
        hidden_size: D, the hidden size of the backbone.
        intermediate_size: Inner dimension of channel mixing.
        head_dim: Dimension of one head; it divides ``hidden_size``.
        decay_low_rank_dim: Rank of the low-rank map to the decay (``w1``, ``w2``).
        a_low_rank_dim: Rank of the map to the in-context learning rate (``a1``, ``a2``).
        v_low_rank_dim: Rank of the map to the value residual's gate (``v1``, ``v2``).
        gate_low_rank_dim: Rank of the map to the output gate (``g1``, ``g2``).
    """

    vocab: int | None
    num_layers: int
    hidden_size: int
    intermediate_size: int
    head_dim: int
    decay_low_rank_dim: int
    a_low_rank_dim: int
    v_low_rank_dim: int
    gate_low_rank_dim: int

    @property
    def num_heads(self) -> int:
        """Number of heads."""
        return self.hidden_size // self.head_dim

    @classmethod
    def of_shapes(cls, shapes: Mapping[str, Shape]) -> RWKV7Sizes:
        """Read the sizes from the shapes of the tensors of an official checkpoint.

        Raises:
            ValueError: They are not those of an RWKV-7; the message says why.
        """

        def shape(name: str, rows: int | None = None, columns: int | None = None) -> Shape:
            found = shapes.get(name, ())
            if len(found) != 2 or 0 in found:
                raise ValueError(f"it has no matrix {name!r}")
            if rows not in (None, found[0]) or columns not in (None, found[1]):
                raise ValueError(f"{name} is {list(found)}, which does not fit a hidden size of {hidden_size}")
            return found

        vocab, hidden_size = shape("emb.weight")
        num_heads, head_dim = shape("blocks.0.att.r_k")
        if num_heads * head_dim != hidden_size:
            raise ValueError(
                f"{num_heads} heads of {head_dim} (blocks.0.att.r_k) do not make {hidden_size} (emb.weight)"
            )
        num_layers = len({match[1] for name in shapes if (match := re.match(r"blocks\.(\d+)\.", name))})
        # A model is built from these sizes before its tensors are compared one by one: every layer must be there.
        for layer in range(num_layers):
            shape(f"blocks.{layer}.ffn.key.weight", rows=shape("blocks.0.ffn.key.weight")[0], columns=hidden_size)
        return cls(
            vocab=vocab,
            num_layers=num_layers,
            hidden_size=hidden_size,
            intermediate_size=shape("blocks.0.ffn.key.weight")[0],
            head_dim=head_dim,
            decay_low_rank_dim=shape("blocks.0.att.w1", rows=hidden_size)[1],
            a_low_rank_dim=shape("blocks.0.att.a1", rows=hidden_size)[1],
            # The first layer has no value residual.
            v_low_rank_dim=shape("blocks.1.att.v1", rows=hidden_size)[1]
            if num_layers > 1
            else low_rank_dim(hidden_size, 1.7),
            gate_low_rank_dim=shape("blocks.0.att.g1", rows=hidden_size)[1],
        )


def low_rank_dim(hidden_size: int, factor: float) -> int:
    """Official rank of a low-rank map: ``factor * sqrt(hidden_size)`` to the nearest multiple of 32, at least 32."""
    return max(32, 32 * round(factor * math.sqrt(hidden_size) / 32))
