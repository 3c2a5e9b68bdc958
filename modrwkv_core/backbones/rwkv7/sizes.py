"""The sizes of an RWKV-7: all that its tensors' shapes depend on."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["RWKV7Sizes", "lora_rank"]

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RWKV7Sizes:
    """All sizes of an RWKV-7.

    Attributes:
        vocab: Rows of the embedding and of the output projection; None if something else decides.
        layers: Blocks.
        width: D, the width of the trunk.
        ffn: Hidden width of channel mixing.
        head_size: Width of one head; it divides ``width``.
        decay_rank: Inner width of the low-rank map to the decay (``w1``, ``w2``).
        rate_rank: Inner width of the map to the in-context learning rate (``a1``, ``a2``).
        value_rank: Inner width of the map to the value residual's gate (``v1``, ``v2``).
        gate_rank: Inner width of the map to the output gate (``g1``, ``g2``).
    """

    vocab: int | None
    layers: int
    width: int
    ffn: int
    head_size: int
    decay_rank: int
    rate_rank: int
    value_rank: int
    gate_rank: int

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.width // self.head_size

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

        vocab, width = shape("emb.weight")
        heads, head_size = shape("blocks.0.att.r_k")
        if heads * head_size != width:
            raise ValueError(
                f"{heads} heads of {head_size} (blocks.0.att.r_k) do not make the width {width} (emb.weight)"
            )
        layers = 1 + max(int(match[1]) for name in shapes if (match := re.match(r"blocks\.(\d+)\.", name)))
        return cls(
            vocab=vocab,
            layers=layers,
            width=width,
            ffn=shape("blocks.0.ffn.key.weight")[0],
            head_size=head_size,
            decay_rank=shape("blocks.0.att.w1")[1],
            rate_rank=shape("blocks.0.att.a1")[1],
            # The first layer has no value residual.
            value_rank=shape("blocks.1.att.v1")[1] if layers > 1 else lora_rank(width, 1.7),
            gate_rank=shape("blocks.0.att.g1")[1],
        )


def lora_rank(width: int, factor: float) -> int:
    """Official rank of a low-rank map: ``factor * sqrt(width)`` to the nearest multiple of 32, at least 32."""
    return max(32, 32 * round(factor * math.sqrt(width) / 32))
