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
        layers: Blocks.
        hidden_size: D, the hidden size of the backbone.
        intermediate_size: Inner dimension of channel mixing.
        head_dim: Width of one head; it divides ``hidden_size``.
        decay_low_rank_dim: Inner width of the low-rank map to the decay (``w1``, ``w2``).
        a_low_rank_dim: Inner width of the map to the in-context learning rate (``a1``, ``a2``).
        v_low_rank_dim: Inner width of the map to the value residual's gate (``v1``, ``v2``).
        gate_low_rank_dim: Inner width of the map to the output gate (``g1``, ``g2``).
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

        def shape(name: str) -> Shape:
            if len(shapes.get(name, ())) != 2:
                raise ValueError(f"it has no matrix {name!r}")
            return shapes[name]

        vocab, hidden_size = shape("emb.weight")
        num_heads, head_dim = shape("blocks.0.att.r_k")
        if num_heads * head_dim != hidden_size:
            raise ValueError(
                f"{num_heads} heads of {head_dim} (blocks.0.att.r_k) do not make {hidden_size} (emb.weight)"
            )
        num_layers = 1 + max(int(match[1]) for name in shapes if (match := re.match(r"blocks\.(\d+)\.", name)))
        return cls(
            vocab=vocab,
            num_layers=num_layers,
            hidden_size=hidden_size,
            intermediate_size=shape("blocks.0.ffn.key.weight")[0],
            head_dim=head_dim,
            decay_low_rank_dim=shape("blocks.0.att.w1")[1],
            a_low_rank_dim=shape("blocks.0.att.a1")[1],
            # The first layer has no value residual.
            v_low_rank_dim=shape("blocks.1.att.v1")[1] if num_layers > 1 else low_rank_dim(hidden_size, 1.7),
            gate_low_rank_dim=shape("blocks.0.att.g1")[1],
        )


def low_rank_dim(hidden_size: int, factor: float) -> int:
    """Official rank of a low-rank map: ``factor * sqrt(hidden_size)`` to the nearest multiple of 32, at least 32."""
    return max(32, 32 * round(factor * math.sqrt(hidden_size) / 32))
