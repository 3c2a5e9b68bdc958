"""Models with random weights: the recipe's orthogonal matrices would take minutes where benchmarks are large."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from modrwkv_core.backbones.rwkv7 import RWKV7
from modrwkv_core.benchmarking.sizes import ModelSize
from modrwkv_core.interfaces.fresh_weights import weights_to_come
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.model.assemble import assemble
from modrwkv_core.model.multimodal import MultimodalModel

__all__ = ["assemble_at_random", "draw_weights", "random_backbone"]

_NORMS: Final = ("ln0.weight", "ln1.weight", "ln2.weight", "ln_x.weight", "ln_out.weight")


def random_backbone(size: ModelSize, path: Path) -> RWKV7:
    """Build a backbone with random bfloat16 weights and write them to ``path`` (``.pth``), for baselines to load."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in RWKV7(size.config(), size.vocab_size).state_dict().items()}
    torch.manual_seed(0)
    torch.save({name: _draw(name, torch.empty(shape)).bfloat16() for name, shape in shapes.items()}, path)
    return RWKV7.from_checkpoint(path)


def assemble_at_random(loaded: LoadedManifest, device: str) -> MultimodalModel:
    """Build the model of a manifest, and draw its weights on the device."""
    with weights_to_come():
        model = assemble(loaded, pretrained=False).to(device)
    draw_weights(model)
    return model


@torch.no_grad()
def draw_weights(model: MultimodalModel) -> None:
    """Draw the weights of a model that was constructed within ``weights_to_come()``; values keep their scale in it."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.isnan().any():
            _draw(name, parameter)


def _draw(name: str, weights: Tensor) -> Tensor:
    scale = math.prod(weights.shape[1:]) ** -0.5 if weights.ndim > 1 else 0.1
    return weights.normal_(float(name.endswith(_NORMS)), scale)
