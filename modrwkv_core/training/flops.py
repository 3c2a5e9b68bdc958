"""How many operations a training step needs, and how many a GPU can do: model FLOPs utilization (MFU).

Source of the measure: Chowdhery et al., PaLM, arXiv 2204.02311, appendix B.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from modrwkv_core.data.batch import Batch
from modrwkv_core.data.feature_cache import cached_features
from modrwkv_core.model.embedder import MediaEmbedder
from modrwkv_core.model.multimodal import MultimodalModel

__all__ = ["StepFlops", "device_peak", "peak_flops"]

_TERA: Final = 1e12

_PEAKS: Final = (
    ("B200", 2250),
    ("GH200", 989),
    ("H200", 989),
    ("H100 PCIe", 756),
    ("H100 NVL", 835),
    ("H100", 989),
    ("H800", 989),
    ("H20", 148),
    ("A100", 312),
    ("A800", 312),
    ("L40S", 362),
    ("L40", 181),
    ("L4", 121),
    ("A40", 149.7),
    ("A10G", 70),
    ("A10", 125),
    ("A6000", 154.8),
    ("RTX 6000 Ada", 364),
    ("RTX 5090", 209.5),
    ("RTX 4090", 165.2),
    ("RTX 3090", 71),
)
"""Part of a device's name and its dense bfloat16 TFLOP/s with float32 sums, from NVIDIA's data sheets; first match."""


def peak_flops(device_name: str) -> float | None:
    """Return the operations a second of a GPU's dense bfloat16 products; None if its name is not known."""
    return next((peak * _TERA for name, peak in _PEAKS if name in device_name), None)


class StepFlops:
    """Counts the operations of forward and backward passes from the sizes of a batch.

    A weight of a matrix costs two operations for each vector that it meets, two more for the gradient of its input, and
    two for its own gradient. Attention within encoders and the recurrence are left out, as is what is computed twice.

    Args:
        model: The parameters that learn are known.
    """

    def __init__(self, model: MultimodalModel) -> None:
        backbone = model.backbone
        output = backbone.output_weight
        trains_media = False
        self._modalities = {}
        for name, embedder in model.embedders.items():
            assert isinstance(embedder, MediaEmbedder)
            encoder = _per_vector(embedder.encoder)
            trains_media |= _learns(embedder)
            connector = _matrices(embedder) - _matrices(embedder.encoder)
            connector = connector * (6 if _learns(embedder.adapter) else 2)
            self._modalities[name] = (embedder.encoder.config, encoder, connector)
        of_input = 2 if trains_media or _learns(backbone) else 0
        self._token = _matrices(backbone, but=output) * (2 + of_input)
        self._token += 2 * _matrices(backbone, learning=True, but=output)
        self._label = output.numel() * (2 + of_input + 2 * int(output.requires_grad))

    def __call__(self, batch: Batch) -> float:
        """Count the operations for ``batch``."""
        count = self._token * batch.ids.numel() + self._label * len(batch.supervised)
        for placed in batch.media:
            config, encoder, connector = self._modalities[placed.modality]
            count += connector * placed.count
            if cached_features(placed.item) is None:
                count += encoder * config.out_length(placed.item.length)
        return float(count)


def _per_vector(module: nn.Module) -> int:
    """Operations of a module for each vector."""
    learning = _matrices(module, learning=True)
    return 2 * _matrices(module) + 4 * learning


def _matrices(module: nn.Module, *, learning: bool = False, but: Tensor | None = None) -> int:
    """Count the weights of matrices without ``but``; tables that are only looked up do not count."""
    tables = {
        id(parameter)
        for child in module.modules()
        if isinstance(child, nn.Embedding)
        for parameter in child.parameters(recurse=False)
    }
    return sum(
        parameter.numel()
        for parameter in module.parameters()
        if parameter.dim() >= 2
        and parameter.numel() > max(parameter.shape)
        and id(parameter) not in tables
        and parameter is not but
        and (parameter.requires_grad or not learning)
    )


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def device_peak(device: torch.device) -> float | None:
    """Return :func:`peak_flops` of a device; None for a CPU."""
    return peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
