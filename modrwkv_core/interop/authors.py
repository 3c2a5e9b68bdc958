"""The checkpoints of ModRWKV's authors (WorldRWKV, RWKV-VL): which layout a file has, and what its parts are.

A file holds a trunk, an adapter, and the encoder if that was trained:

============================  ===================================  =================================  =============
written by                    adapter                              encoder                            trunk
============================  ===================================  =================================  =============
WorldRWKV until July 2025     ``modality.world_encoder.adapter.``  ``modality.world_encoder.model.``  as official
WorldRWKV from August 2025    ``proj.``                            ``encoder.``                       ``llm.``
WorldRWKV ``wlm``, RWKV-VL    ``model.proj.``                      ``model.encoder.``                 ``model.llm.``
============================  ===================================  =================================  =============

The last has the names of flash-linear-attention in its trunk. The parts' arithmetic is fixed in the authors' code:

- Adapters of pictures give ``y + LayerNorm(y)`` with ``y = Linear(ReLU(Linear(x)))``, some behind a convolution of
  stride 2 without bias or padding.
- Adapters of sound are a convolution of stride 2 with bias, padded by 2, and ``Linear(ReLU(Linear(x)))`` alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from torch import Tensor

from modrwkv_core.backbones.rwkv7.checkpoint import UNUSED
from modrwkv_core.backbones.rwkv7.sizes import RWKV7Sizes
from modrwkv_core.errors import CheckpointError
from modrwkv_core.interop.fla import from_fla
from modrwkv_core.interop.trunk import sizes_of

__all__ = ["Part", "Published", "split_published"]


@dataclass(frozen=True, slots=True)
class Part:
    """A component's section of a manifest, and its weights by the component's own names."""

    section: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Published:
    """What a published checkpoint holds.

    Attributes:
        sizes: Those of the trunk.
        trunk: The trunk by official names, without what nothing uses.
        adapter: An adapter ``mlp``.
        compressor: A compressor ``conv1d``, if the checkpoint has a convolution.
        encoder: The encoder's tensors, if it was trained, by the names of its own library.
        width: Width of the features that the compressor, or else the adapter, reads.
    """

    sizes: RWKV7Sizes
    trunk: dict[str, Tensor]
    adapter: Part
    compressor: Part | None
    encoder: dict[str, Tensor]
    width: int


class _Layout(NamedTuple):
    """The prefixes of the parts' names."""

    adapter: str
    encoder: str
    trunk: str


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


def split_published(tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None, source: str) -> Published:
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
            hint="a trunk alone is named by the manifest (backbone: {type: rwkv7, weights: ...}) or converted without "
            "--manifest",
        )
    adapter = _below(layout.adapter, tensors)
    trunk = _trunk(tensors, layout)
    sizes = sizes_of(trunk, source)
    part, compressor, width = _front_end(adapter, sizes.width, source)
    if layout is _EXPORTED and "pre_norm.weight" in adapter and width == sizes.width:
        _refuse_norm_before(config, source)
    # WorldRWKV wraps the encoder once more than RWKV-VL does.
    encoder = {name.removeprefix("model."): tensor for name, tensor in _below(layout.encoder, tensors).items()}
    return Published(sizes, trunk, part, compressor, encoder, width)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _trunk(tensors: Mapping[str, Tensor], layout: _Layout) -> dict[str, Tensor]:
    others = (layout.adapter, layout.encoder)
    trunk = {name: tensor for name, tensor in tensors.items() if not name.startswith(others)}
    if layout is _EXPORTED:
        return from_fla({name.replace("model.llm.", "model.", 1): tensor for name, tensor in trunk.items()})
    trunk = {name.removeprefix(layout.trunk): tensor for name, tensor in trunk.items()}
    return {name: tensor for name, tensor in trunk.items() if name not in UNUSED}


def _front_end(adapter: Mapping[str, Tensor], trunk_width: int, source: str) -> tuple[Part, Part | None, int]:
    """Return adapter, compressor, and the width of the features that the first of them reads."""
    if any(name.startswith("deepstack.") for name in adapter):
        raise CheckpointError(
            f"{source} adds features of the encoder's inner layers to the trunk's inner layers (DeepStack)",
            hint="no component does that; only RWKV-VL models without DeepStack can be imported",
        )
    named = {_RENAMED.sub("mlp.", name.removeprefix("main.")): tensor for name, tensor in adapter.items()}
    if named.keys() not in (_PICTURE, _PICTURE | {"conv.weight"}, _SOUND):
        raise CheckpointError(
            f"the adapter of {source} is none that is known; its tensors: {', '.join(sorted(adapter))}",
            hint="known are a perceptron with layer norm, the same behind a convolution, and a perceptron behind a "
            "convolution with bias",
        )
    hidden, width = named["mlp.0.weight"].shape
    expansion, remainder = divmod(hidden, trunk_width)
    if remainder or named["mlp.2.weight"].shape[0] != trunk_width:
        raise CheckpointError(
            f"the perceptron of {source} has widths {width}, {hidden}, {named['mlp.2.weight'].shape[0]}, which do not "
            f"fit a trunk of width {trunk_width}",
            hint="its hidden layer must be a multiple of the trunk's width, and its outputs as wide as the trunk",
        )
    has_norm = "pre_norm.weight" in named
    if has_norm and named["pre_norm.weight"].shape[0] != trunk_width:
        raise CheckpointError(
            f"the layer norm of {source} normalises what the perceptron reads, not what it gives",
            hint="the adapter mlp cannot do that",
        )
    convolution = {name: named.pop(name) for name in sorted(named) if name.startswith("conv.")}
    part = Part({"type": "mlp", "expansion": expansion, "norm": has_norm}, named)
    if not convolution:
        return part, None, width
    channels, width, kernel = convolution["conv.weight"].shape
    bias = "conv.bias" in convolution
    section = {
        "type": "conv1d",
        "kernel": kernel,
        "stride": 2,
        "padding": 2 if bias else 0,
        "channels": channels,
        "bias": bias,
    }
    return part, Part(section, convolution), width


def _refuse_norm_before(config: Mapping[str, Any] | None, source: str) -> None:
    """Refuse what may come from the first RWKV-VL (May 2026): ``x + perceptron(LayerNorm(x))`` under the same names.

    Where features are as wide as the trunk, shapes do not tell; the configuration does.
    """
    if config is None or config.get("model_type") != "rwkv7_vl":
        raise CheckpointError(
            f"the adapter of {source} may normalise before its perceptron, as the first RWKV-VL did, or behind it: "
            "names and shapes are the same",
            hint="give the whole folder of a WorldRWKV model, whose config.json says model_type rwkv7_vl; to normalise "
            "before the perceptron is nothing that the adapter mlp can do",
        )
