"""A random RWKV-7 checkpoint, and one step of it written out head by head in float64, to test the decoders against."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

RANKS = {"w": 40, "a": 32, "v": 7, "g": 64}


def random_checkpoint(layers: int, width: int, head_size: int, ffn: int, vocab: int) -> dict[str, Tensor]:
    """Tensors in the official layout whose values bfloat16 holds exactly."""
    generator = torch.Generator().manual_seed(layers * width + head_size)

    def normal(*shape: int) -> Tensor:
        scale = shape[-1] ** -0.5 if len(shape) == 2 else 0.3
        return (torch.randn(*shape, generator=generator) * scale).bfloat16().float()

    tensors = {"emb.weight": normal(vocab, width), "head.weight": normal(vocab, width)}
    for name in ("blocks.0.ln0", "ln_out"):
        tensors |= {f"{name}.weight": 1 + normal(width), f"{name}.bias": normal(width)}
    for layer in range(layers):
        block = f"blocks.{layer}"
        for name in ("ln1", "ln2", "att.ln_x"):
            tensors |= {f"{block}.{name}.weight": 1 + normal(width), f"{block}.{name}.bias": normal(width)}
        vectors = ["x_r", "x_w", "x_k", "x_v", "x_a", "x_g", "w0", "a0", "k_k", "k_a"] + ["v0"] * (layer > 0)
        tensors |= {f"{block}.att.{name}": normal(1, 1, width) for name in vectors}
        tensors[f"{block}.att.k_k"] += 1  # no head's removal key may vanish
        for kind, rank in RANKS.items():
            if kind != "v" or layer > 0:
                tensors |= {f"{block}.att.{kind}1": normal(rank, width).mT, f"{block}.att.{kind}2": normal(rank, width)}
        for name in ("receptance", "key", "value", "output"):
            tensors[f"{block}.att.{name}.weight"] = normal(width, width)
        tensors[f"{block}.att.r_k"] = normal(width // head_size, head_size)
        tensors[f"{block}.ffn.x_k"] = normal(1, 1, width)
        tensors[f"{block}.ffn.key.weight"] = normal(ffn, width)
        tensors[f"{block}.ffn.value.weight"] = normal(width, ffn)
    return tensors


def random_state(layers: int, slots: int, width: int, head_size: int) -> list[Tensor]:
    """States and both shifts of some slots, float32."""
    generator = torch.Generator().manual_seed(7)
    shapes = [(layers, slots, width // head_size, head_size, head_size), (layers, slots, width), (layers, slots, width)]
    return [torch.randn(shape, generator=generator) for shape in shapes]


def step(tensors: dict[str, Tensor], token: int, state: list[Tensor], slot: int) -> Tensor:
    """Logits after one token; RWKV-7 paper, arXiv 2503.14456, section 4. The slot of `state` is updated in place."""
    z = {name: tensor.double() for name, tensor in tensors.items()}
    matrices, time_shift, channel_shift = state
    size = matrices.shape[-1]

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape, z[f"{name}.weight"], z[f"{name}.bias"])

    x = norm("blocks.0.ln0", z["emb.weight"][token])
    for layer in range(len(matrices)):
        block = f"blocks.{layer}"
        p = {name.removeprefix(f"{block}.att."): value.squeeze() for name, value in z.items() if f"{block}.att" in name}
        now, before = norm(f"{block}.ln1", x), time_shift[layer, slot].double()
        time_shift[layer, slot] = now
        x_r, x_w, x_k, x_v, x_a, x_g = (now + (before - now) * p[f"x_{name}"] for name in "rwkvag")
        r, k, v = p["receptance.weight"] @ x_r, p["key.weight"] @ x_k, p["value.weight"] @ x_v
        if layer == 0:
            v_first = v
        else:
            v = v + (v_first - v) * torch.sigmoid(p["v0"] + x_v @ p["v1"] @ p["v2"])
        r_k = z[f"{block}.att.r_k"]
        w = torch.exp(-torch.exp(-F.softplus(-(p["w0"] + torch.tanh(x_w @ p["w1"]) @ p["w2"])) - 0.5))
        a = torch.sigmoid(p["a0"] + x_a @ p["a1"] @ p["a2"])
        g = torch.sigmoid(x_g @ p["g1"]) @ p["g2"]
        removal, k = k * p["k_k"], k * (1 + (a - 1) * p["k_a"])
        out = torch.zeros_like(x)
        for index, start in enumerate(range(0, len(x), size)):
            h = slice(start, start + size)
            kk = removal[h] / removal[h].norm()
            s = matrices[layer, slot, index].double()
            s = s * w[h] - torch.outer(s @ kk, kk * a[h]) + torch.outer(v[h], k[h])
            matrices[layer, slot, index] = s
            y = s @ r[h]
            y = (y - y.mean()) / torch.sqrt(y.var(correction=0) + 64e-5)
            out[h] = y * p["ln_x.weight"][h] + p["ln_x.bias"][h] + (r[h] * k[h] * r_k[index]).sum() * v[h]
        x = x + p["output.weight"] @ (out * g)
        now, before = norm(f"{block}.ln2", x), channel_shift[layer, slot].double()
        channel_shift[layer, slot] = now
        x_k = now + (before - now) * z[f"{block}.ffn.x_k"].squeeze()
        x = x + z[f"{block}.ffn.value.weight"] @ torch.relu(z[f"{block}.ffn.key.weight"] @ x_k) ** 2
    return z["head.weight"] @ norm("ln_out", x)
