"""Small RWKV-7 models whose every parameter matters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config

MakeModel = Callable[..., RWKV7]


def _randomise(model: RWKV7) -> None:
    """Add noise that bfloat16 holds exactly: the recipe's zeros would hide half of the model."""
    for parameter in model.parameters():
        fan_in = parameter.shape[-1] if parameter.dim() == 2 else 10
        noisy = parameter.detach() + torch.randn_like(parameter) / fan_in**0.5
        parameter.data.copy_(noisy.bfloat16())


@pytest.fixture
def make_model() -> MakeModel:
    """Build a random model of a few sizes, the same for the same sizes."""

    def make(
        layers: int = 2,
        width: int = 16,
        head_size: int = 8,
        vocab: int = 32,
        kernel: str = "auto",
        dtype: torch.dtype = torch.float64,
    ) -> RWKV7:
        torch.manual_seed(layers * width)
        config = RWKV7Config(layers=layers, width=width, head_size=head_size, kernel=kernel)
        model = RWKV7(config, vocab)
        _randomise(model)
        return model.to(dtype)

    return make
