"""The type in which a model's weights lie on an accelerator."""

from __future__ import annotations

from typing import Final

import torch

from modrwkv_core.interfaces.component import INITIAL_STATE
from modrwkv_core.model.multimodal import MultimodalModel

__all__ = ["DTYPES", "cast_weights"]

DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def cast_weights(model: MultimodalModel, dtype: torch.dtype) -> None:
    """Give the weights that read prompts and decode answers another type: those of the backbone and of token heads.

    What begins every sequence stays as it is: states are float32, whatever the type of the weights. So do embedders and
    other heads, whose values are measurements, such as forecasts.
    """
    initial = {
        name: parameter.data for name, parameter in model.backbone.named_parameters() if name.startswith(INITIAL_STATE)
    }
    for part in (model.backbone, *model.token_heads().values()):
        part.to(dtype)
    for name, tensor in initial.items():
        model.backbone.get_parameter(name).data = tensor
