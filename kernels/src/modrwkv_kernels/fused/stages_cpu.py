"""The stages around the recurrence as compiled ops, for float32 in CPU memory where no gradient is needed."""

from __future__ import annotations

import torch
from torch import Tensor

from modrwkv_kernels.native import HEAD_SIZES, why_missing

__all__ = ["prepare", "readout", "serve", "token_shift"]

_WIDTH = 16  # that widths are multiples of


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


def _fake_prepare(
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
    rows, tokens, width = k.shape
    shape = (rows, tokens, width // head_size, head_size)
    log_w, out_k, out_a, out_b = (k.new_empty(shape) for _ in range(4))
    return log_w, out_k, out_a, out_b, k.new_empty(0 if v_first is None else shape)


def _fake_readout(
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
    "modrwkv_kernels::time_mix_prepare_cpu",
    "(Tensor k, Tensor v, Tensor decay, Tensor rate, Tensor k_k, Tensor k_a, Tensor? v_first, Tensor? logit, "
    "int head_size) -> (Tensor log_w, Tensor out_k, Tensor out_a, Tensor out_b, Tensor out_v)",
)
torch.library.define(
    "modrwkv_kernels::readout_cpu",
    "(Tensor y, Tensor r, Tensor k, Tensor v, Tensor gate, Tensor r_k, Tensor norm_weight, Tensor norm_bias, "
    "float eps) -> Tensor",
)
torch.library.register_fake("modrwkv_kernels::token_shift_cpu", _fake_token_shift)
torch.library.register_fake("modrwkv_kernels::time_mix_prepare_cpu", _fake_prepare)
torch.library.register_fake("modrwkv_kernels::readout_cpu", _fake_readout)


def serve(*tensors: Tensor | None, head_size: int | None = None) -> bool:
    """Whether the compiled stages serve these tensors: float32 on the CPU, of fitting sizes, without gradients."""
    given = [x for x in tensors if x is not None]
    return (
        why_missing() is None
        and all(x.dtype == torch.float32 and x.device.type == "cpu" for x in given)
        and not (torch.is_grad_enabled() and any(x.requires_grad for x in given))
        and (given[0].shape[-1] % _WIDTH == 0 if head_size is None else head_size in HEAD_SIZES)
    )


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


def prepare(
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
    """Serve :func:`modrwkv_kernels.time_mix_prepare`: decay, key, value, and the directions of removal and writing."""
    log_w, out_k, out_a, out_b, out_v = torch.ops.modrwkv_kernels.time_mix_prepare_cpu(
        k, v, decay, rate, k_k, k_a, v_first, logit, head_size
    )
    return log_w, out_k, v.view_as(out_k) if v_first is None else out_v, out_a, out_b


def readout(
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
    """Serve :func:`modrwkv_kernels.readout`."""
    out: Tensor = torch.ops.modrwkv_kernels.readout_cpu(y, r, k, v, gate, r_k, norm_weight, norm_bias, eps)
    return out
