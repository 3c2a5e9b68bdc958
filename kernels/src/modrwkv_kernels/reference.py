"""WKV-7 as it is defined: a loop over tokens in plain torch, differentiated by autograd.

Slow and simple; every other backend is tested against it, in float64.

Names end in their dimensions: B batch, T tokens, H heads, V and K the value and key index of a head (both N wide).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from modrwkv_kernels.backend import Backend, Inputs, compute_dtype
from modrwkv_kernels.cu_seqlens import CuSeqlens

__all__ = ["BACKEND", "step"]


def step(token: Inputs, state_BHVK: Tensor) -> tuple[Tensor, Tensor]:
    """Advance the recurrence by one token (RWKV-7 paper, arXiv 2503.14456, section 3).

    Args:
        token: Six tensors `[batch, heads, head size]`.
        state_BHVK: `[batch, heads, value, key]`.

    Returns:
        Output `[batch, heads, head size]`, typed like `token.r`, and the new state.
    """
    r_BHK, log_w_BHK, k_BHK, v_BHV, a_BHK, b_BHK = token.to(state_BHVK.dtype)
    u_BHV = (state_BHVK @ a_BHK.unsqueeze(-1)).squeeze(-1)
    new_BHVK = (
        state_BHVK * log_w_BHK.exp().unsqueeze(-2)
        + u_BHV.unsqueeze(-1) * b_BHK.unsqueeze(-2)
        + v_BHV.unsqueeze(-1) * k_BHK.unsqueeze(-2)
    )
    return (new_BHVK @ r_BHK.unsqueeze(-1)).squeeze(-1).to(token.r.dtype), new_BHVK


def _loop(inputs: Inputs, state_BHVK: Tensor) -> tuple[Tensor, Tensor]:
    """Run `[batch, tokens, heads, head size]` inputs through :func:`step`."""
    y_T = []
    for token in zip(*(x.unbind(1) for x in inputs), strict=True):
        y_BHV, state_BHVK = step(Inputs(*token), state_BHVK)
        y_T.append(y_BHV)
    return torch.stack(y_T, dim=1) if y_T else torch.zeros_like(inputs.v), state_BHVK


def _run(
    inputs: Inputs, state: Tensor | None, cu_seqlens: CuSeqlens | None, chunk_size: int | None
) -> tuple[Tensor, Tensor]:
    io_dtype = inputs.r.dtype
    inputs = inputs.to(compute_dtype(io_dtype))
    batch, _, heads, size = inputs.r.shape
    sequences = batch if cu_seqlens is None else cu_seqlens.sequences
    if state is None:
        state = inputs.r.new_zeros(sequences, heads, size, size)

    if cu_seqlens is None:
        y, final = _loop(inputs, state)
        return y.to(io_dtype), final.clone()

    bounds = cu_seqlens.on_host().tolist()
    parts = [
        _loop(Inputs(*(x[:, start:end] for x in inputs)), state[i : i + 1])
        for i, (start, end) in enumerate(itertools.pairwise(bounds))
    ]
    if not parts:
        return torch.zeros_like(inputs.v).to(io_dtype), state.clone()
    y = torch.cat([y for y, _ in parts], dim=1)
    return y.to(io_dtype), torch.cat([final for _, final in parts])


BACKEND = Backend("reference", _run, step)
