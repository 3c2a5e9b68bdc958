"""Blocks are one graph to torch.compile."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from modrwkv_kernels import CuSeqlens

from modrwkv_core.backbones.rwkv7.block import LayerState


@pytest.mark.parametrize("bounds", [None, [0, 3, 8]], ids=["dense", "packed"])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_block_compiles_without_graph_break(make_model: Any, layer: int, bounds: list[int] | None) -> None:
    model = make_model()
    block = model.blocks[layer]
    x = torch.randn(1 if bounds else 2, 8, 16, dtype=torch.float64, requires_grad=True)
    cu_seqlens = None if bounds is None else CuSeqlens.of(bounds)
    state = model.init_state(2)
    before = LayerState(state.matrix[layer], state.time_shift[layer], state.channel_shift[layer])
    v_first = torch.randn_like(x) if layer else None
    torch._dynamo.reset()
    outcomes = []
    for run in (block, torch.compile(block, fullgraph=True, backend="aot_eager")):
        out, values, after = run(x, v_first, before, cu_seqlens)
        loss = out.square().sum() + values.sum() + sum(tensor.square().sum() for tensor in after)
        outcomes.append([out, *after, *torch.autograd.grad(loss, [x, *block.parameters()])])
    for compiled, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(compiled, expected, rtol=1e-10, atol=1e-12)
