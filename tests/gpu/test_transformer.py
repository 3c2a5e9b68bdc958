"""A Transformer reads long prompts chunk by chunk on a GPU, by kernels that take no mask."""

from __future__ import annotations

import pytest
import torch

transformer = pytest.importorskip("modrwkv_transformer.model")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_chunks_give_what_one_go_gives_on_the_cpu(dtype: torch.dtype) -> None:
    from modrwkv_transformer.config import TransformerConfig

    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "num_layers": 2, "num_heads": 2, "num_key_value_heads": 2, "head_dim": 64}
    model = transformer.Transformer(TransformerConfig(init="scratch", intermediate_size=256, **sizes), 64).eval()
    ids = torch.randint(64, (2, 300))
    expected, _ = model(model.embed(ids))
    model.to("cuda", dtype)
    state = None
    read = []
    for part in torch.split(ids, 100, dim=1):
        hidden, state = model(model.embed(part.cuda()), state=state)
        read.append(hidden.float().cpu())
    tolerance = 1e-4 if dtype is torch.float32 else 2e-2
    assert (torch.cat(read, dim=1) - expected).norm() <= tolerance * expected.norm()
