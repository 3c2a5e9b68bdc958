"""Time mixing: the recurrence of each block with everything that drives it.

B = batch size, T = tokens, D = hidden size, H = heads, N = head size, S = batch size or packed sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from modrwkv_kernels import CuSeqlens, ValueResidual, fused_k_update, gate_output, wkv7, wkv7_step
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from modrwkv_core.backbones.rwkv7.linear import Linear
from modrwkv_core.backbones.rwkv7.recompute import recomputable
from modrwkv_core.backbones.rwkv7.sizes import RWKV7Sizes
from modrwkv_core.backbones.rwkv7.token_shift import Tail

__all__ = ["TimeMix"]

_GROUP_NORM_EPS = 64e-5


class TimeMix(nn.Module):
    """RWKV-7 paper, arXiv 2503.14456, section 4.1.

    The parameters carry the names and shapes of official checkpoints: ``w*`` drive the decay, ``a*`` the in-context
    learning rate, ``v*`` the residual to the first layer's values (absent in the first layer), ``g*`` the output gate.

    Args:
        sizes: Sizes of the backbone.
        layer: Index of the block, from 0.
        kernel: Backend of the recurrence.
    """

    def __init__(self, sizes: RWKV7Sizes, layer: int, kernel: str) -> None:
        super().__init__()
        self.kernel = kernel
        self.head_dim = sizes.head_dim
        hidden_size = sizes.hidden_size

        def vector() -> nn.Parameter:
            return nn.Parameter(torch.empty(1, 1, hidden_size))

        def low_rank(rank: int) -> tuple[nn.Parameter, nn.Parameter]:
            return nn.Parameter(torch.empty(hidden_size, rank)), nn.Parameter(torch.empty(rank, hidden_size))

        self.x_r, self.x_w, self.x_k, self.x_v, self.x_a, self.x_g = (vector() for _ in range(6))
        self.w0, self.a0 = vector(), vector()
        self.w1, self.w2 = low_rank(sizes.decay_low_rank_dim)
        self.a1, self.a2 = low_rank(sizes.a_low_rank_dim)
        if layer > 0:
            self.v0 = vector()
            self.v1, self.v2 = low_rank(sizes.v_low_rank_dim)
        self.g1, self.g2 = low_rank(sizes.gate_low_rank_dim)
        self.k_k, self.k_a = vector(), vector()
        self.r_k = nn.Parameter(torch.empty(sizes.num_heads, sizes.head_dim))
        self.receptance = Linear(hidden_size, hidden_size)
        self.key = Linear(hidden_size, hidden_size)
        self.value = Linear(hidden_size, hidden_size)
        self.output = Linear(hidden_size, hidden_size)
        self.ln_x = nn.GroupNorm(sizes.num_heads, hidden_size, eps=_GROUP_NORM_EPS)

    def mix(self) -> Tensor:
        """Weights of the token before in the six inputs of :meth:`forward`, ``[6, D]``."""
        return torch.cat((self.x_r, self.x_w, self.x_k, self.x_v, self.x_a, self.x_g)).squeeze(1)

    def forward(
        self,
        mixes: Sequence[Tensor],
        v_first_BTD: Tensor | None,
        matrix_SHNN: Tensor,
        cu_seqlens: CuSeqlens | None,
        tail: Tail | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mix tokens over time.

        Args:
            mixes: The normalized input, six times ``[B, T, D]``, mixed with the token before by :meth:`mix`.
            v_first_BTD: Values of the first layer; None in the first layer.
            matrix_SHNN: State of the recurrence before the first tokens.
            cu_seqlens: Where packed sequences lie.
            tail: The tokens whose output is needed; None for all.

        Returns:
            The output, the values of the first layer, and the state after the last tokens.
        """
        x_r_BTD, x_w_BTD, x_k_BTD, x_v_BTD, x_a_BTD, x_g_BTD = mixes
        r_BTD, k_BTD, v_BTD = self.receptance(x_r_BTD), self.key(x_k_BTD), self.value(x_v_BTD)
        decay_BTD = _biased((x_w_BTD @ self.w1).tanh(), self.w2, self.w0)
        rate_BTD = _biased(x_a_BTD @ self.a1, self.a2, self.a0)
        residual = None
        if v_first_BTD is None:
            v_first_BTD = v_BTD
        else:
            residual = ValueResidual(v_first_BTD, _biased(x_v_BTD @ self.v1, self.v2, self.v0))
        k_update = partial(
            fused_k_update,
            k_BTD,
            v_BTD,
            decay_BTD,
            rate_BTD,
            self.k_k.flatten(),
            self.k_a.flatten(),
            head_size=self.head_dim,
            residual=residual,
        )
        log_w_BTHN, k_BTHN, v_BTHN, a_BTHN, b_BTHN = updated = k_update()
        recomputable(updated, k_update)
        r_BTHN = r_BTD.view_as(k_BTHN)
        inputs = (r_BTHN, log_w_BTHN, k_BTHN, v_BTHN, a_BTHN, b_BTHN)
        y_BTHN, matrix_SHNN = self._recur(inputs, matrix_SHNN, cu_seqlens)
        if tail is not None:
            y_BTHN, r_BTHN, k_BTHN, v_BTHN = (tail.of(x) for x in (y_BTHN, r_BTHN, k_BTHN, v_BTHN))
            x_g_BTD = tail.of(x_g_BTD)
        gate_BTD = (x_g_BTD @ self.g1).sigmoid() @ self.g2
        gated_BTD = gate_output(
            y_BTHN,
            r_BTHN,
            k_BTHN,
            v_BTHN,
            gate_BTD,
            self.r_k,
            self.ln_x.weight,
            self.ln_x.bias,
            eps=_GROUP_NORM_EPS,
        )
        out_BTD: Tensor = self.output(gated_BTD)
        return out_BTD, v_first_BTD, matrix_SHNN

    def _recur(
        self, inputs: tuple[Tensor, ...], matrix_SHNN: Tensor, cu_seqlens: CuSeqlens | None
    ) -> tuple[Tensor, Tensor]:
        """Run the recurrence over ``r, log_w, k, v, a, b``, each ``[B, T, H, N]``."""
        r, log_w, *others = inputs
        # Autocast would leave some inputs in float32 and compute the recurrence in 16 bits.
        k, v, a, b = (tensor.to(r.dtype) for tensor in others)
        with torch.autocast(r.device.type, enabled=False):
            if cu_seqlens is None and r.shape[1] == 1:
                token = (r[:, 0], log_w[:, 0], k[:, 0], v[:, 0], a[:, 0], b[:, 0])
                y_BHN, matrix_SHNN = wkv7_step(*token, matrix_SHNN, backend=self.kernel)
                return y_BHN.unsqueeze(1), matrix_SHNN
            y_BTHN, final_SHNN = wkv7(
                r, log_w, k, v, a, b, state=matrix_SHNN, cu_seqlens=cu_seqlens, output_state=True, backend=self.kernel
            )
        assert final_SHNN is not None
        return y_BTHN, final_SHNN


def _biased(x_BTR: Tensor, weight_RD: Tensor, bias_11D: Tensor) -> Tensor:
    """``x_BTR @ weight_RD + bias_11D`` in one product."""
    return F.linear(x_BTR, weight_RD.mT, bias_11D.flatten())
