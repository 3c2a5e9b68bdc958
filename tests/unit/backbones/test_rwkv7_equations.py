"""The model against its equations, written down token by token in float64, and its gradients against differences."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from modrwkv_kernels import CuSeqlens
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7State


def by_the_equations(model: RWKV7, x_TD: Tensor) -> Tensor:
    """Logits of one sequence: RWKV-7 paper, arXiv 2503.14456, section 4, one token and one head at a time."""
    z = model.state_dict()
    num_layers, size = model.sizes.num_layers, model.sizes.head_dim
    heads = [slice(start, start + size) for start in range(0, model.hidden_size, size)]

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape, z[f"{name}.weight"], z[f"{name}.bias"])

    time_before = [torch.zeros_like(x_TD[0])] * num_layers
    channel_before = [torch.zeros_like(x_TD[0])] * num_layers
    matrices = [[x_TD.new_zeros(size, size) for _ in heads] for _ in range(num_layers)]
    logits = []
    for x in x_TD:
        x = norm("blocks.0.ln0", x)
        for layer in range(num_layers):
            block = f"blocks.{layer}"
            p = {name.removeprefix(f"{block}.att."): value.squeeze() for name, value in z.items() if block in name}
            now, before = norm(f"{block}.ln1", x), time_before[layer]
            time_before[layer] = now
            x_r, x_w, x_k, x_v, x_a, x_g = (now + (before - now) * p[f"x_{name}"] for name in "rwkvag")
            r, k, v = p["receptance.weight"] @ x_r, p["key.weight"] @ x_k, p["value.weight"] @ x_v
            if layer == 0:
                v_first = v
            else:
                v = v + (v_first - v) * torch.sigmoid(p["v0"] + x_v @ p["v1"] @ p["v2"])
            w = torch.exp(-torch.exp(-F.softplus(-(p["w0"] + torch.tanh(x_w @ p["w1"]) @ p["w2"])) - 0.5))
            a = torch.sigmoid(p["a0"] + x_a @ p["a1"] @ p["a2"])
            g = torch.sigmoid(x_g @ p["g1"]) @ p["g2"]
            removal = k * p["k_k"]
            k = k * (1 + (a - 1) * p["k_a"])
            out = torch.zeros_like(x)
            for index, h in enumerate(heads):
                kk = removal[h] / removal[h].norm()
                s = matrices[layer][index]
                s = s * w[h] - torch.outer(s @ kk, kk * a[h]) + torch.outer(v[h], k[h])
                matrices[layer][index] = s
                y = s @ r[h]
                y = (y - y.mean()) / torch.sqrt(y.var(correction=0) + 64e-5)
                out[h] = y * p["ln_x.weight"][h] + p["ln_x.bias"][h] + (r[h] * k[h] * p["r_k"][index]).sum() * v[h]
            x = x + p["output.weight"] @ (out * g)
            now, before = norm(f"{block}.ln2", x), channel_before[layer]
            channel_before[layer] = now
            x_k = now + (before - now) * z[f"{block}.ffn.x_k"].squeeze()
            x = x + z[f"{block}.ffn.value.weight"] @ torch.relu(z[f"{block}.ffn.key.weight"] @ x_k) ** 2
        logits.append(z["head.weight"] @ norm("ln_out", x))
    return torch.stack(logits)


@pytest.mark.parametrize("kernel", ["reference", "torch"])
def test_logits_follow_the_equations(make_model: Any, kernel: str) -> None:
    model = make_model(num_layers=3, kernel=kernel)
    x = model.embed(torch.randint(0, 32, (1, 40)))
    with torch.no_grad():
        torch.testing.assert_close(model.logits(model(x)[0])[0], by_the_equations(model, x[0]), rtol=1e-11, atol=1e-12)


def test_gradients_of_inputs_and_state_are_right(make_model: Any) -> None:
    model = make_model(hidden_size=8, head_dim=4)
    cu_seqlens = CuSeqlens.of([0, 2, 5])

    def run(x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        hidden, after = model(x, RWKV7State(*state), cu_seqlens)
        return model.logits(hidden), after.matrix, after.time_shift, after.channel_shift

    shapes = [(1, 5, 8), (2, 2, 2, 4, 4), (2, 2, 8), (2, 2, 8)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


def test_gradients_of_every_parameter_are_right(make_model: Any) -> None:
    model = make_model(hidden_size=8, head_dim=4)
    names, parameters = zip(*model.named_parameters(), strict=True)
    ids = torch.randint(0, 32, (2, 5))

    def loss(*values: Tensor) -> Tensor:
        hidden, _ = functional_call(model, dict(zip(names, values, strict=True)), (model.emb.weight[ids],))
        return F.cross_entropy(hidden.flatten(0, 1) @ values[names.index("head.weight")].mT, ids.flatten())

    for index, name in enumerate(names):
        if name != "emb.weight":

            def along(value: Tensor, index: int = index) -> Tensor:
                return loss(*parameters[:index], value, *parameters[index + 1 :])

            assert torch.autograd.gradcheck(along, parameters[index], fast_mode=True), name


def test_every_parameter_learns(make_model: Any) -> None:
    model = make_model()
    hidden, _ = model(model.embed(torch.randint(0, 32, (2, 6))))
    model.logits(hidden).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
