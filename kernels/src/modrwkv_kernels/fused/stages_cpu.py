"""The stages around the recurrence as compiled ops, for float32 in CPU memory where no gradient is needed."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["gate_output", "k_update", "token_shift"]


def _fake_token_shift(
    x: Tensor,
    update: Tensor | None,
    before: Tensor,
    mix: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    first: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    return x.new_empty(0 if update is None else x.shape), x.new_empty(len(mix), *x.shape)


def _fake_k_update(
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    rate: Tensor,
    k_k: Tensor,
    k_a: Tensor,
    v_first: Tensor | None,
    logit: Tensor | None,
    head_size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, tokens, width = k.shape
    shape = (batch, tokens, width // head_size, head_size)
    log_w, out_k, out_a, out_b = (k.new_empty(shape) for _ in range(4))
    return log_w, out_k, out_a, out_b, k.new_empty(0 if v_first is None else shape)


def _fake_gate_output(
    y: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor,
    r_k: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
) -> Tensor:
    return gate.new_empty(gate.shape)


torch.library.define(
    "modrwkv_kernels::token_shift_cpu",
    "(Tensor x, Tensor? update, Tensor before, Tensor mix, Tensor norm_weight, Tensor norm_bias, Tensor? first, "
    "float eps) -> (Tensor summed, Tensor mixes)",
)
torch.library.define(
    "modrwkv_kernels::fused_k_update_cpu",
    "(Tensor k, Tensor v, Tensor decay, Tensor rate, Tensor k_k, Tensor k_a, Tensor? v_first, Tensor? logit, "
    "int head_size) -> (Tensor log_w, Tensor out_k, Tensor out_a, Tensor out_b, Tensor out_v)",
)
torch.library.define(
    "modrwkv_kernels::gate_output_cpu",
    "(Tensor y, Tensor r, Tensor k, Tensor v, Tensor gate, Tensor r_k, Tensor norm_weight, Tensor norm_bias, "
    "float eps) -> Tensor",
)
torch.library.register_fake("modrwkv_kernels::token_shift_cpu", _fake_token_shift)
torch.library.register_fake("modrwkv_kernels::fused_k_update_cpu", _fake_k_update)
torch.library.register_fake("modrwkv_kernels::gate_output_cpu", _fake_gate_output)


def token_shift(
    x: Tensor,
    before: Tensor,
    mix: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    update: Tensor | None,
    first: Tensor | None,
    eps: float,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Serve :func:`modrwkv_kernels.token_shift_mix`."""
    summed, mixes = torch.ops.modrwkv_kernels.token_shift_cpu(
        x, update, before, mix, norm_weight, norm_bias, first, eps
    )
    return x if update is None else summed, mixes.unbind()


def k_update(
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    rate: Tensor,
    k_k: Tensor,
    k_a: Tensor,
    head_size: int,
    v_first: Tensor | None,
    logit: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Serve :func:`modrwkv_kernels.fused_k_update`: decay, key, value, and the directions of removal and writing."""
    log_w, out_k, out_a, out_b, out_v = torch.ops.modrwkv_kernels.fused_k_update_cpu(
        k, v, decay, rate, k_k, k_a, v_first, logit, head_size
    )
    return log_w, out_k, v.view_as(out_k) if v_first is None else out_v, out_a, out_b


def gate_output(
    y: Tensor,
    r: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor,
    r_k: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
) -> Tensor:
    """Serve :func:`modrwkv_kernels.gate_output`."""
    out: Tensor = torch.ops.modrwkv_kernels.gate_output_cpu(y, r, k, v, gate, r_k, norm_weight, norm_bias, eps)
    return out
