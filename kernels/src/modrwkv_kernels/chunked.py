"""The chunked form of WKV-7 and its hand-written gradient: few large matrix products instead of a loop over tokens.

Within a chunk let ``g`` be the running sum of the log-decay. With ``R = r e^g``, ``A = a e^{g_prev}``, ``K = k e^-g``,
``B = b e^-g`` the products ``R K'``, ``R B'``, ``A K'``, ``A B'`` (cut to their lower triangles, for A strictly) hold
what tokens of the chunk do to each other, and the rank-one feedback ``u_t = S_{t-1} a_t`` of the whole chunk solves

    (I - [A B']) U = A S0' + [A K'] V

a unit lower triangular system (the WY form of a product of rank-one corrected transitions, as in DeltaNet, arXiv
2406.06484, section 3). It is solved by substitution, which stays accurate on correlated keys. Then
``Y = R S0' + [R K'] V + [R B'] U`` and ``S1 = S0 e^{g_C} + V' K e^{g_C} + U' B e^{g_C}``. Only the line for U and the
one for S1 need the state, so everything else is done for all chunks of all sequences at once.

For the gradient only the inputs and the states at chunk starts are saved; everything else is recomputed.

Names end in their dimensions: Z chunks, H heads, C tokens of a chunk, D the two halves of a 2C axis (r then a, k then
b, or v then u), N head size, V and K value and key index, S sequences sorted as in :mod:`modrwkv_kernels.ragged`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from modrwkv_kernels.backend import Inputs

__all__ = ["backward", "forward"]

Steps = tuple[slice, ...]


class _Chunks(NamedTuple):
    """What is known of every chunk before its state is."""

    grow: Tensor  # ZHCN, e^g
    grow_prev: Tensor  # ZHCN, e^{g_prev}
    shrink: Tensor  # ZHCN, e^-g
    tail: Tensor  # ZHCN, e^{g_C - g}
    total: Tensor  # ZH1N, e^{g_C}
    ra: Tensor  # ZHDN
    kb: Tensor  # ZHDN
    kb_tail: Tensor  # ZHDN, k and b times e^{g_C - g}: what reaches the end of the chunk
    mix: Tensor  # ZHDD, rows r, a; columns k, b


def _pair(x_ZHCN: Tensor, y_ZHCN: Tensor) -> Tensor:
    return torch.cat((x_ZHCN, y_ZHCN), dim=-2)


def _causal(size: int, like: Tensor) -> Tensor:
    """Mask of the `mix` matrix: r sees its own token, a only those before."""
    see = torch.ones(size, size, dtype=like.dtype, device=like.device).tril()
    before = see.tril(-1)
    return torch.cat((torch.cat((see, see), dim=1), torch.cat((before, before), dim=1)))


def _prepare(x: Inputs) -> _Chunks:
    size = x.r.shape[-2]
    g_ZHCN = x.log_w.cumsum(-2)
    grow = g_ZHCN.exp()
    grow_prev = torch.cat((torch.ones_like(grow[..., :1, :]), grow[..., :-1, :]), dim=-2)
    shrink = grow.reciprocal()
    total = grow[..., -1:, :]
    tail = shrink * total
    ra = _pair(x.r * grow, x.a * grow_prev)
    kb = _pair(x.k * shrink, x.b * shrink)
    kb_tail = _pair(x.k * tail, x.b * tail)
    mix = (ra @ kb.mT) * _causal(size, ra)
    return _Chunks(grow, grow_prev, shrink, tail, total, ra, kb, kb_tail, mix)


def _solve(chunks: _Chunks, right_ZHCN: Tensor, *, transposed: bool = False) -> Tensor:
    """Apply the inverse of ``I - [A B']``, or of its transpose, to the right-hand side."""
    size = right_ZHCN.shape[-2]
    feedback_ZHCC = -chunks.mix[..., size:, size:]
    system_ZHCC = feedback_ZHCC.mT if transposed else feedback_ZHCC
    solved_ZHCN: Tensor = torch.linalg.solve_triangular(system_ZHCC, right_ZHCN, upper=transposed, unitriangular=True)
    return solved_ZHCN


def forward(x: Inputs, state_SHVK: Tensor, steps: Steps) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, final states and the states at chunk starts.

    Args:
        x: Six tensors `[chunks, heads, chunk size, head size]`.
        state_SHVK: Initial states, sorted, `[sequences, heads, value, key]`.
        steps: The chunks handled at each step of the scan.

    Returns:
        `[chunks, heads, chunk size, head size]`, `[sequences, heads, value, key]`, `[chunks, heads, value, key]`.
    """
    size = x.r.shape[-2]
    chunks = _prepare(x)
    from_state, from_values = chunks.ra[..., size:, :], chunks.mix[..., size:, :size] @ x.v
    solved = _solve(chunks, torch.cat((from_state, from_values), dim=-1))
    w_ZHCN, u_ZHCN = solved.chunk(2, dim=-1)

    vu_ZHDN = torch.empty_like(chunks.ra)
    vu_ZHDN[..., :size, :] = x.v
    chunk_states_ZHVK = state_SHVK.new_empty(len(x.v), *state_SHVK.shape[1:])
    state_SHVK = state_SHVK.clone()
    for step in steps:
        running = step.stop - step.start
        start = chunk_states_ZHVK[step] = state_SHVK[:running]
        vu_ZHDN[step, :, size:] = u_ZHCN[step] + w_ZHCN[step] @ start.mT
        state_SHVK[:running] = start * chunks.total[step] + vu_ZHDN[step].mT @ chunks.kb_tail[step]

    y_ZHCN = chunks.ra[..., :size, :] @ chunk_states_ZHVK.mT + chunks.mix[..., :size, :] @ vu_ZHDN
    return y_ZHCN, state_SHVK, chunk_states_ZHVK


def backward(
    x: Inputs, chunk_states_ZHVK: Tensor, dy_ZHCN: Tensor, dstate_SHVK: Tensor, steps: Steps
) -> tuple[Inputs, Tensor]:
    """Gradients of the inputs and of the initial states.

    Args:
        x: The inputs of :func:`forward`.
        chunk_states_ZHVK: The states at chunk starts that it returned.
        dy_ZHCN: Gradient of the outputs.
        dstate_SHVK: Gradient of the final states.
        steps: The chunks handled at each step of the scan.

    Returns:
        Gradients shaped like the inputs and like the states.
    """
    size = x.r.shape[-2]
    chunks = _prepare(x)
    mix_v, mix_u = chunks.mix.chunk(2, dim=-1)
    from_state = chunks.ra[..., size:, :]
    drive = from_state @ chunk_states_ZHVK.mT + mix_v[..., size:, :] @ x.v
    w_ZHCN, u_ZHCN = _solve(chunks, torch.cat((from_state, drive), dim=-1)).chunk(2, dim=-1)
    vu_ZHDN = _pair(x.v, u_ZHCN)

    # The reverse scan mirrors the scan: the gradient of u is known once the gradient of the chunk's last state is.
    rw_ZHDN = _pair(chunks.ra[..., :size, :], w_ZHCN)
    b_tail_ZHCN = chunks.kb_tail[..., size:, :]
    yu_ZHDN = _pair(dy_ZHCN, mix_u[..., :size, :].mT @ dy_ZHCN)
    dend_ZHVK = torch.empty_like(chunk_states_ZHVK)
    dstate_SHVK = dstate_SHVK.clone()
    for step in reversed(steps):
        running = step.stop - step.start
        dend = dend_ZHVK[step] = dstate_SHVK[:running]
        yu_ZHDN[step, :, size:] += b_tail_ZHCN[step] @ dend.mT
        dstate_SHVK[:running] = dend * chunks.total[step] + yu_ZHDN[step].mT @ rw_ZHDN[step]

    ddrive_ZHCN = _solve(chunks, yu_ZHDN[..., size:, :], transposed=True)
    yd_ZHDN = _pair(dy_ZHCN, ddrive_ZHCN)
    dmix = (yd_ZHDN @ vu_ZHDN.mT) * _causal(size, yd_ZHDN)
    dr_ZHCN, da_ZHCN = (dmix @ chunks.kb + yd_ZHDN @ chunk_states_ZHVK).chunk(2, dim=-2)
    dr_ZHCN, da_ZHCN = dr_ZHCN * chunks.grow, da_ZHCN * chunks.grow_prev
    dv_ZHCN = mix_v.mT @ yd_ZHDN + chunks.kb_tail[..., :size, :] @ dend_ZHVK.mT

    dk_inside, db_inside = (dmix.mT @ chunks.ra).chunk(2, dim=-2)
    dkb_end = vu_ZHDN @ dend_ZHVK
    dk_end, db_end = dkb_end.chunk(2, dim=-2)
    dk_ZHCN = dk_inside * chunks.shrink + dk_end * chunks.tail
    db_ZHCN = db_inside * chunks.shrink + db_end * chunks.tail

    # g_t scales r_t up, k_t and b_t down; g_{t-1} scales a_t; g_C scales all that reaches the chunk's end.
    at_t = x.r * dr_ZHCN - x.k * dk_ZHCN - x.b * db_ZHCN
    at_prev = x.a * da_ZHCN
    at_end = (chunk_states_ZHVK * dend_ZHVK).sum(-2, keepdim=True) * chunks.total
    at_end = at_end + (chunks.kb_tail * dkb_end).sum(-2, keepdim=True)
    after = torch.cat((at_prev[..., 1:, :], at_end), dim=-2)
    dlog_w_ZHCN = (at_t + after).flip(-2).cumsum(-2).flip(-2)
    return Inputs(dr_ZHCN, dlog_w_ZHCN, dk_ZHCN, dv_ZHCN, da_ZHCN, db_ZHCN), dstate_SHVK
