"""The checkpoints of ModRWKV's authors (WorldRWKV, RWKV-VL): which layout a file has, and what its parts are.

A file holds a backbone, an adapter, and the encoder if that was trained:

============================  ===================================  =================================  =============
written by                    adapter                              encoder                            backbone
============================  ===================================  =================================  =============
WorldRWKV until July 2025     ``modality.world_encoder.adapter.``  ``modality.world_encoder.model.``  as official
WorldRWKV from August 2025    ``proj.``                            ``encoder.``                       ``llm.``
WorldRWKV ``wlm``, RWKV-VL    ``model.proj.``                      ``model.encoder.``                 ``model.llm.``
============================  ===================================  =================================  =============

The last has the names of flash-linear-attention in its backbone. The parts' arithmetic is fixed in the authors' code:

- Adapters of images give ``y + LayerNorm(y)`` with ``y = Linear(ReLU(Linear(x)))``, some after a convolution of
  stride 2 without bias or padding.
- Adapters of sound are a convolution of stride 2 with bias, padded by 2, and ``Linear(ReLU(Linear(x)))`` alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from torch import Tensor

from modrwkv_core.backbones.rwkv7.fla import UNUSED, from_fla
from modrwkv_core.backbones.rwkv7.sizes import RWKV7Sizes
from modrwkv_core.errors import CheckpointError
from modrwkv_core.interop.backbone import sizes_of

__all__ = ["Part", "WorldRWKVCheckpoint", "split_checkpoint"]


@dataclass(frozen=True, slots=True)
class Part:
    """A component's section of a manifest, and its weights by the component's own names."""

    section: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class WorldRWKVCheckpoint:
    """What a pretrained checkpoint holds.

    Attributes:
        sizes: Those of the backbone.
        backbone: The backbone by official names, without what nothing uses.
        adapter: An adapter ``mlp``.
        compressor: A compressor ``conv1d``, if the checkpoint has a convolution.
        encoder: The encoder's tensors, if it was trained, by the names of its own library.
        dim: Dimension of the features that the compressor, or else the adapter, reads.
    """

    sizes: RWKV7Sizes
    backbone: dict[str, Tensor]
    adapter: Part
    compressor: Part | None
    encoder: dict[str, Tensor]
    dim: int


class _Layout(NamedTuple):
    """The prefixes of the parts' names."""

    adapter: str
    encoder: str
    backbone: str


_EXPORTED: Final = _Layout("model.proj.", "model.encoder.", "model.llm.")
_LAYOUTS: Final = (
    _Layout("modality.world_encoder.adapter.", "modality.world_encoder.model.", ""),
    _Layout("proj.", "encoder.", "llm."),
    _EXPORTED,
)

_RENAMED: Final = re.compile(r"^proj\.")
_PERCEPTRON: Final = frozenset({"mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias"})
_PICTURE: Final = _PERCEPTRON | {"pre_norm.weight", "pre_norm.bias"}
_SOUND: Final = _PERCEPTRON | {"conv.weight", "conv.bias"}


def split_checkpoint(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None, source: str
) -> WorldRWKVCheckpoint:
    """Tell the parts of a checkpoint of ModRWKV's authors apart; all sizes are read from its tensors.

    Args:
        tensors: All of the checkpoint, by its own names.
        config: Its ``config.json``, if it is a folder.
        source: Where it comes from, for messages.

    Raises:
        CheckpointError: It has none of their layouts, is incomplete, or computes what our components cannot.
    """
    layout = next((known for known in _LAYOUTS if any(name.startswith(known.adapter) for name in tensors)), None)
    if layout is None:
        raise CheckpointError(
            f"{source} holds no adapter: no name begins with {' or '.join(known.adapter for known in _LAYOUTS)}",
            hint="name a backbone alone in the manifest (backbone: {type: rwkv7, weights: ...}), or convert it without "
            "--manifest",
        )
    adapter = _below(layout.adapter, tensors)
    backbone = _backbone(tensors, layout)
    sizes = sizes_of(backbone, source)
    part, compressor, dim = _adapter_parts(adapter, sizes.hidden_size, source)
    if layout is _EXPORTED and "pre_norm.weight" in adapter and dim == sizes.hidden_size:
        _refuse_norm_before(config, source)
    # WorldRWKV wraps the encoder once more than RWKV-VL does.
    encoder = {name.removeprefix("model."): tensor for name, tensor in _below(layout.encoder, tensors).items()}
    return WorldRWKVCheckpoint(sizes, backbone, part, compressor, encoder, dim)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _backbone(tensors: Mapping[str, Tensor], layout: _Layout) -> dict[str, Tensor]:
    others = (layout.adapter, layout.encoder)
    backbone = {name: tensor for name, tensor in tensors.items() if not name.startswith(others)}
    if layout is _EXPORTED:
        return from_fla({name.replace("model.llm.", "model.", 1): tensor for name, tensor in backbone.items()})
    backbone = {name.removeprefix(layout.backbone): tensor for name, tensor in backbone.items()}
    return {name: tensor for name, tensor in backbone.items() if name not in UNUSED}


def _adapter_parts(adapter: Mapping[str, Tensor], hidden_size: int, source: str) -> tuple[Part, Part | None, int]:
    """Return adapter, compressor, and the dimension of the features that the first of them reads."""
    if any(name.startswith("deepstack.") for name in adapter):
        raise CheckpointError(
            f"{source} adds features of the encoder's inner layers to the backbone's inner layers (DeepStack)",
            hint="no component does that; only RWKV-VL models without DeepStack can be imported",
        )
    named = {_RENAMED.sub("mlp.", name.removeprefix("main.")): tensor for name, tensor in adapter.items()}
    if named.keys() not in (_PICTURE, _PICTURE | {"conv.weight"}, _SOUND):
        raise CheckpointError(
            f"the adapter of {source} has an unknown layout; its tensors: {', '.join(sorted(adapter))}",
            hint="known are a perceptron with layer norm, the same after a convolution, and a perceptron after a "
            "convolution with bias",
        )
    inner, dim = named["mlp.0.weight"].shape
    expansion, remainder = divmod(inner, hidden_size)
    if remainder or named["mlp.2.weight"].shape[0] != hidden_size:
        raise CheckpointError(
            f"the perceptron of {source} has widths {dim}, {inner}, {named['mlp.2.weight'].shape[0]}, which do not "
            f"fit a backbone of dim {hidden_size}",
            hint="its hidden layer must be a multiple of the backbone's dim, and its outputs as wide as the backbone",
        )
    has_norm = "pre_norm.weight" in named
    if has_norm and named["pre_norm.weight"].shape[0] != hidden_size:
        raise CheckpointError(
            f"the layer norm of {source} normalizes what the perceptron reads, not what it gives",
            hint="the adapter mlp cannot do that",
        )
    convolution = {name: named.pop(name) for name in sorted(named) if name.startswith("conv.")}
    part = Part({"type": "mlp", "expansion": expansion, "norm": has_norm}, named)
    if not convolution:
        return part, None, dim
    channels, dim, kernel = convolution["conv.weight"].shape
    bias = "conv.bias" in convolution
    section = {
        "type": "conv1d",
        "kernel": kernel,
        "stride": 2,
        "padding": 2 if bias else 0,
        "channels": channels,
        "bias": bias,
    }
    return part, Part(section, convolution), dim


def _refuse_norm_before(config: Mapping[str, Any] | None, source: str) -> None:
    """Refuse what may come from the first RWKV-VL (May 2026): ``x + perceptron(LayerNorm(x))`` under the same names.

    Where features are as wide as the backbone, shapes do not tell; the configuration does.
    """
    if config is None or config.get("model_type") != "rwkv7_vl":
        raise CheckpointError(
            f"the adapter of {source} may normalize before its perceptron, as the first RWKV-VL did, or after it: "
            "names and shapes are the same",
            hint="give the whole folder of a WorldRWKV model, whose config.json says model_type rwkv7_vl; to normalize "
            "before the perceptron is nothing that the adapter mlp can do",
        )
