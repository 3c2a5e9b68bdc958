"""The backbone, its blocks and its decoder compute on a GPU what they compute on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from modrwkv_kernels import CuSeqlens

from modrwkv_core.backbones.rwkv7.block import LayerState
from modrwkv_core.backbones.rwkv7.prefill_graph import prefill_graph


def test_rows_that_come_and_go_equal_the_backbone_in_a_graph(run_check: Any) -> None:
    found = run_check("tests/unit/backbones/graph_decoder_check.py", "cuda")
    assert found == {"cases": 11 * 4 + 1, "beyond": {}}


@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")  # inductor advises to round more
@pytest.mark.parametrize("compiles", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("bounds", [None, [0, 3, 100]], ids=["dense", "packed"])
def test_a_block_agrees_with_float64(make_model: Any, bounds: list[int] | None, compiles: bool) -> None:
    exact = make_model(hidden_size=128, head_dim=64)
    rough = make_model(hidden_size=128, head_dim=64, dtype=torch.float32).cuda()
    x = torch.randn(1 if bounds else 2, 100, 128)
    outcomes = []
    torch._dynamo.reset()
    for model in (exact, rough):
        block = model.blocks[1]
        run = torch.compile(block, fullgraph=True) if compiles and model is rough else block
        inputs = [x.to(block.ln1.weight).detach().requires_grad_() for _ in range(2)]
        cu_seqlens = None if bounds is None else CuSeqlens.of(bounds).to(inputs[0].device)
        state = model.init_state(2)
        before = LayerState(state.matrix[1], state.time_shift[1], state.channel_shift[1])
        out, _, after = run(*inputs, before, cu_seqlens)
        loss = out.square().sum() + sum(tensor.square().sum() for tensor in after)
        outcomes.append([out, *after, *torch.autograd.grad(loss, [*inputs, *block.parameters()])])
    for ours, expected in zip(outcomes[1], outcomes[0], strict=True):
        assert (ours.double().cpu() - expected).norm() <= 1e-4 * expected.norm()


@torch.no_grad()
def test_prompts_prefilled_in_a_graph_equal_the_forward_pass(make_model: Any) -> None:
    model = make_model(hidden_size=128, head_dim=64, dtype=torch.float32).cuda()

    def assert_prefills(tokens: int) -> None:
        x, state = torch.randn(1, tokens, 128, device="cuda"), model(torch.randn(1, 3, 128, device="cuda"))[1]
        hidden, after = model(x, state)
        last, ours = model.prefill(x, state, CuSeqlens.of([0, tokens]).to("cuda"))
        assert (last - hidden[:, -1]).norm() <= 1e-5 * hidden[:, -1].norm()
        assert (ours.matrix - after.matrix).norm() <= 1e-5 * after.matrix.norm()
        assert (ours.time_shift - after.time_shift).norm() <= 1e-5 * after.time_shift.norm()

    for tokens in (5, 512, 513, 1, 1200):
        assert_prefills(tokens)
    model.prefill(torch.full((1, 512, 128), float("nan"), device="cuda"))
    assert_prefills(7)
    captured = prefill_graph(model)
    assert captured is not None
    for parameter in model.parameters():
        parameter.data = 1.1 * parameter.data
    for _ in range(3):
        assert_prefills(40)
    assert prefill_graph(model) not in (None, captured)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="this machine has one GPU at most")
@torch.no_grad()
def test_a_model_prefills_and_decodes_where_it_lies(make_model: Any) -> None:
    model = make_model(hidden_size=128, head_dim=64, dtype=torch.float32).cuda(1)
    assert torch.cuda.current_device() == 0
    ids = torch.randint(0, 32, (1, 9), device="cuda:1")
    expected, _ = model(model.embed(ids))
    for _ in range(3):  # from the second one on in a graph
        hidden, state = model.prefill(model.embed(ids[:, :-1]))
        torch.testing.assert_close(hidden, expected[:, -2], rtol=1e-4, atol=1e-5)
    decoding = model.decoder().start(state)
    torch.testing.assert_close(decoding.step(ids[0, -1:]), model.logits(expected[:, -1]), rtol=1e-3, atol=1e-4)


def test_a_gpu_agrees_with_the_cpu(make_model: Any) -> None:
    model, cu_seqlens = make_model(hidden_size=128, head_dim=64), CuSeqlens.of([0, 3, 50])
    x = model.embed(torch.randint(0, 32, (1, 50))).detach()
    outcomes = []
    for device in ("cpu", "cuda"):
        model.to(device).zero_grad()
        state = model.init_state(2)
        for part, bounds in ((x, cu_seqlens), (x[:, :2], CuSeqlens.of([0, 1, 2]))):
            hidden, state = model(part.to(device), state, bounds.to(device))
        hidden, state = model(x[:, :1].expand(2, 1, 128).to(device), state)
        hidden.square().sum().backward()
        gradients = [parameter.grad.clone().cpu() for parameter in model.parameters() if parameter.grad is not None]
        tensors = (hidden, state.matrix, state.time_shift, state.channel_shift)
        outcomes.append([*(tensor.cpu() for tensor in tensors), *gradients])
    for ours, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-10)
