"""Blocks are one graph to torch.compile."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from modrwkv_core.backbones.rwkv7.block import LayerState
from modrwkv_core.backbones.rwkv7.token_shift import Packing


@pytest.mark.parametrize("bounds", [None, [0, 3, 8]], ids=["dense", "packed"])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_block_compiles_without_graph_break(make_model: Any, layer: int, bounds: list[int] | None) -> None:
    model = make_model()
    block = model.blocks[layer]
    x = torch.randn(1 if bounds else 2, 8, 16, dtype=torch.float64, requires_grad=True)
    packing = None if bounds is None else Packing.of(torch.tensor(bounds), x)
    state = model.init_state(2)
    before = LayerState(state.matrix[layer], state.time_shift[layer], state.channel_shift[layer])
    v_first = torch.randn_like(x) if layer else None
    torch._dynamo.reset()
    outcomes = []
    for run in (block, torch.compile(block, fullgraph=True, backend="aot_eager")):
        out, values, after = run(x, v_first, before, packing)
        loss = out.square().sum() + values.sum() + sum(tensor.square().sum() for tensor in after)
        outcomes.append([out, *after, *torch.autograd.grad(loss, [x, *block.parameters()])])
    for compiled, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(compiled, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compiles", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("bounds", [None, [0, 3, 100]], ids=["dense", "packed"])
def test_a_block_on_a_gpu_agrees_with_float64(make_model: Any, bounds: list[int] | None, compiles: bool) -> None:
    exact = make_model(width=128, head_size=64)
    rough = make_model(width=128, head_size=64, dtype=torch.float32).cuda()
    x = torch.randn(1 if bounds else 2, 100, 128)
    outcomes = []
    torch._dynamo.reset()
    for model in (exact, rough):
        block = model.blocks[1]
        run = torch.compile(block, fullgraph=True) if compiles and model is rough else block
        inputs = [x.to(block.ln1.weight).detach().requires_grad_() for _ in range(2)]
        packing = None if bounds is None else Packing.of(torch.tensor(bounds), inputs[0])
        state = model.init_state(2)
        before = LayerState(state.matrix[1], state.time_shift[1], state.channel_shift[1])
        out, _, after = run(*inputs, before, packing)
        loss = out.square().sum() + sum(tensor.square().sum() for tensor in after)
        outcomes.append([out, *after, *torch.autograd.grad(loss, [*inputs, *block.parameters()])])
    for ours, expected in zip(outcomes[1], outcomes[0], strict=True):
        assert (ours.double().cpu() - expected).norm() <= 1e-4 * expected.norm()
