"""Small trunks with random weights that every tensor matters in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config

MakeTrunk = Callable[..., dict[str, Tensor]]


@pytest.fixture(scope="session")
def make_trunk() -> MakeTrunk:
    """Make the official tensors of an RWKV-7 of ranks 8, 10, 6 and 12, in bfloat16, the same for the same sizes."""

    def make(layers: int = 2, width: int = 128, vocab: int = 96, head_size: int = 64) -> dict[str, Tensor]:
        torch.manual_seed(layers * width)
        ranks = {"decay_rank": 8, "rate_rank": 10, "value_rank": 6, "gate_rank": 12}
        model = RWKV7(RWKV7Config(layers=layers, width=width, head_size=head_size, ffn=160, **ranks), vocab)
        noisy = {}
        for name, tensor in model.state_dict().items():
            spread = tensor.shape[-1] if tensor.dim() == 2 else 10
            noisy[name] = (tensor + torch.randn_like(tensor) / spread**0.5).bfloat16()
        return noisy

    return make
