"""Weights of an RWKV-7, packed for decoding: few tensors, each read sequentially.

D = hidden size, F = intermediate size of channel mixing, R = rank of a low-rank map.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

__all__ = ["FORMATS", "DecodeLayer", "DecodeWeights", "lossless_format", "pack"]

FORMATS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}
"""How matrices can be stored."""

_VECTORS = (
    *("ln1.weight", "ln1.bias", "ln2.weight", "ln2.bias"),
    *(f"att.x_{kind}" for kind in "rkvwag"),
    *("att.w0", "att.a0", "att.v0", "att.k_k", "att.k_a", "att.r_k", "att.ln_x.weight", "att.ln_x.bias"),
    "ffn.x_k",
)
_LOW_RANK = "wavg"  # decay, in-context learning rate, value residual, output gate
_MULTIPLE = 32  # of ranks and of F: zeros fill up the rest


class DecodeLayer(NamedTuple):
    """One layer. Matrices are float32, bfloat16, or int8 with a float32 scale for each row.

    Attributes:
        vectors: `[19, D]`, float32: both layer norms, the six mixes, biases, key weights, group norm, the last mix.
        mixed: `[3 D + sum of R, D]`: the maps of the mixed inputs: receptance, key, value, then the first halves of the
            low-rank maps to decay, rate, value residual (absent in the first layer) and gate.
        up: `[D, sum of R]`: their second halves side by side; never int8.
        output: `[D, D]`.
        key: `[F, D]`.
        value: `[F, D]`, so that rows whose activation is zero can be skipped, or `[D, F]`.
        scales: Of `mixed`, `output`, `key` and `value` when they are int8, else empty.
    """

    vectors: Tensor
    mixed: Tensor
    up: Tensor
    output: Tensor
    key: Tensor
    value: Tensor
    scales: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, eq=False)
class DecodeWeights:
    """A whole model.

    Attributes:
        embedding: `[vocabulary, D]`, as it was given.
        norms: `[4, D]`, float32: weight and bias of the norm after the embedding and of the last norm.
        layers: The layers.
        head: `[vocabulary, D]`.
        head_scale: `[vocabulary]` when `head` is int8.
        head_size: Width of one head.
        ranks: Padded ranks of decay, rate, value residual and gate.
    """

    embedding: Tensor
    norms: Tensor
    layers: tuple[DecodeLayer, ...]
    head: Tensor
    head_scale: Tensor | None
    head_size: int
    ranks: tuple[int, int, int, int]

    @property
    def hidden_size(self) -> int:
        """D."""
        return self.norms.shape[1]

    @property
    def layer_tensors(self) -> list[Tensor]:
        """All of the layers but the scales, one layer after another, as the ops take them."""
        return [tensor for layer in self.layers for tensor in layer[:-1]]

    @property
    def nbytes(self) -> int:
        """Bytes that a step reads at most: all but the embedding."""
        tensors = [self.norms, self.head, *([self.head_scale] if self.head_scale is not None else [])]
        for layer in self.layers:
            tensors += [*layer[:-1], *layer.scales]
        return sum(tensor.nbytes for tensor in tensors)


def lossless_format(tensors: Iterable[Tensor]) -> str:
    """The smallest format that holds every matrix exactly: bfloat16 for official checkpoints, else float32."""
    matrices = (tensor for tensor in tensors if tensor.dim() == 2)
    exact = all(x.dtype == torch.bfloat16 or torch.equal(x, x.bfloat16().to(x.dtype)) for x in matrices)
    return "bfloat16" if exact else "float32"


@torch.no_grad()
def pack(tensors: Mapping[str, Tensor], weights: str, *, transpose_value: bool) -> DecodeWeights:
    """Lay out the tensors of an official RWKV-7 checkpoint.

    Args:
        tensors: By their names in the checkpoint, in any floating dtype.
        weights: One of :data:`FORMATS`. With int8 every row of the large matrices is rounded to 255 steps.
        transpose_value: Whether the value matrices of channel mixing become `[F, D]`.

    Raises:
        ValueError: The format is unknown.
    """
    if weights not in FORMATS:
        raise ValueError(f"weights must be one of {', '.join(FORMATS)}, not {weights!r}")
    count = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    last = f"blocks.{count - 1}.att"
    # The first layer has no value residual; where it is the only one, any rank will do.
    ranks = [tensors[f"{last}.{kind}1"].shape[1] if f"{last}.{kind}1" in tensors else 1 for kind in _LOW_RANK]
    layers = tuple(_pack_layer(tensors, index, weights, transpose_value) for index in range(count))
    head, head_scale = _stored(tensors["head.weight"], weights)
    return DecodeWeights(
        embedding=tensors["emb.weight"].detach(),
        norms=torch.stack(
            [tensors[f"{name}.{part}"].float() for name in ("blocks.0.ln0", "ln_out") for part in ("weight", "bias")]
        ),
        layers=layers,
        head=head,
        head_scale=head_scale,
        head_size=tensors["blocks.0.att.r_k"].shape[1],
        ranks=tuple(-(-rank // _MULTIPLE) * _MULTIPLE for rank in ranks),  # type: ignore[arg-type]
    )


def _pack_layer(tensors: Mapping[str, Tensor], index: int, weights: str, transpose_value: bool) -> DecodeLayer:
    def of(name: str) -> Tensor:
        return tensors[f"blocks.{index}.{name}"].detach()

    kinds = [kind for kind in _LOW_RANK if kind != "v" or index > 0]
    zeros = torch.zeros_like(of("att.w0"))
    vectors = [zeros if index == 0 and name == "att.v0" else of(name) for name in _VECTORS]
    square = [of(f"att.{name}.weight") for name in ("receptance", "key", "value")]
    down = [_padded(of(f"att.{kind}1").mT) for kind in kinds]
    up = torch.cat([_padded(of(f"att.{kind}2")) for kind in kinds]).mT
    key, value = _padded(of("ffn.key.weight")), _padded(of("ffn.value.weight").mT)
    matrices = [torch.cat(square + down), of("att.output.weight"), key, value if transpose_value else value.mT]
    stored = [_stored(matrix, weights) for matrix in matrices]
    mixed, output, key, value = (matrix for matrix, _ in stored)
    return DecodeLayer(
        vectors=torch.stack([vector.flatten().float() for vector in vectors]),
        mixed=mixed,
        # One scale could not serve maps of different size side by side, and they are small.
        up=_stored(up, "bfloat16" if weights == "int8" else weights)[0],
        output=output,
        key=key,
        value=value,
        scales=tuple(scale for _, scale in stored if scale is not None),
    )


def _padded(x: Tensor) -> Tensor:
    """Add rows of zeros up to the next multiple."""
    return F.pad(x, (0, 0, 0, -len(x) % _MULTIPLE))


def _stored(matrix: Tensor, weights: str) -> tuple[Tensor, Tensor | None]:
    if weights != "int8":
        return matrix.to(FORMATS[weights]).contiguous(), None
    matrix = matrix.float()
    scale = matrix.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127
    return (matrix / scale[:, None]).round().to(torch.int8).contiguous(), scale
