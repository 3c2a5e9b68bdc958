"""Time mixing: the recurrence of each block with everything that drives it.

B = rows, T = tokens, D = width, H = heads, N = head size, S = rows or packed sequences.
"""

from __future__ import annotations

import torch
from modrwkv_kernels import LOG_DECAY_MIN, wkv7, wkv7_step
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from modrwkv_core.backbones.rwkv7.sizes import RWKV7Sizes
from modrwkv_core.backbones.rwkv7.token_shift import Packing, token_shift

__all__ = ["TimeMix"]

_GROUP_NORM_EPS = 64e-5
_KEY_NORM_EPS = 1e-12


class TimeMix(nn.Module):
    """RWKV-7 paper, arXiv 2503.14456, section 4.1.

    The parameters carry the names and shapes of official checkpoints: ``w*`` drive the decay, ``a*`` the in-context
    learning rate, ``v*`` the residual to the first layer's values (absent in the first layer), ``g*`` the output gate.

    Args:
        sizes: Sizes of the trunk.
        layer: Index of the block, from 0.
        kernel: Backend of the recurrence.
    """

    def __init__(self, sizes: RWKV7Sizes, layer: int, kernel: str) -> None:
        super().__init__()
        self.kernel = kernel
        self.head_size = sizes.head_size
        width = sizes.width

        def vector() -> nn.Parameter:
            return nn.Parameter(torch.empty(1, 1, width))

        def low_rank(rank: int) -> tuple[nn.Parameter, nn.Parameter]:
            return nn.Parameter(torch.empty(width, rank)), nn.Parameter(torch.empty(rank, width))

        self.x_r, self.x_w, self.x_k, self.x_v, self.x_a, self.x_g = (vector() for _ in range(6))
        self.w0, self.a0 = vector(), vector()
        self.w1, self.w2 = low_rank(sizes.decay_rank)
        self.a1, self.a2 = low_rank(sizes.rate_rank)
        if layer > 0:
            self.v0 = vector()
            self.v1, self.v2 = low_rank(sizes.value_rank)
        self.g1, self.g2 = low_rank(sizes.gate_rank)
        self.k_k, self.k_a = vector(), vector()
        self.r_k = nn.Parameter(torch.empty(sizes.heads, sizes.head_size))
        self.receptance = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.ln_x = nn.GroupNorm(sizes.heads, width, eps=_GROUP_NORM_EPS)

    def forward(
        self,
        x_BTD: Tensor,
        v_first_BTD: Tensor | None,
        before_SD: Tensor,
        matrix_SHNN: Tensor,
        packing: Packing | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mix ``x_BTD``.

        Args:
            x_BTD: The normalised input.
            v_first_BTD: Values of the first layer; None in the first layer.
            before_SD: What stands before the first tokens.
            matrix_SHNN: State of the recurrence before the first tokens.
            packing: Where sequences begin, if several are packed.

        Returns:
            The output, the values of the first layer, and the state behind the last tokens.
        """
        delta_BTD = token_shift(x_BTD, before_SD, packing) - x_BTD

        def mixed(weight: Tensor) -> Tensor:
            return torch.addcmul(x_BTD, delta_BTD, weight)

        r_BTD = self.receptance(mixed(self.x_r))
        k_BTD = self.key(mixed(self.x_k))
        x_v_BTD = mixed(self.x_v)
        v_BTD = self.value(x_v_BTD)
        if v_first_BTD is None:
            v_first_BTD = v_BTD
        else:
            v_BTD = torch.lerp(v_BTD, v_first_BTD, _biased(x_v_BTD @ self.v1, self.v2, self.v0).sigmoid())
        decay_BTD = _biased((mixed(self.x_w) @ self.w1).tanh(), self.w2, self.w0)
        rate_BTD = _biased(mixed(self.x_a) @ self.a1, self.a2, self.a0).sigmoid()
        gate_BTD = (mixed(self.x_g) @ self.g1).sigmoid() @ self.g2

        # The decay lies so close to 1 that half precision would round it away.
        log_w_BTD = LOG_DECAY_MIN * decay_BTD.to(matrix_SHNN.dtype).sigmoid()
        removal_BTHN = _unit(self._heads(k_BTD * self.k_k))
        rate_BTHN = self._heads(rate_BTD)
        k_BTHN = self._heads(k_BTD * torch.addcmul(1 - self.k_a, rate_BTD, self.k_a))
        r_BTHN, v_BTHN = self._heads(r_BTD), self._heads(v_BTD)
        inputs = (r_BTHN, self._heads(log_w_BTD), k_BTHN, v_BTHN, -removal_BTHN, removal_BTHN * rate_BTHN)
        y_BTHN, matrix_SHNN = self._recur(inputs, matrix_SHNN, packing)

        # Group normalisation over heads, as layer normalisation of each head, which is many times faster on CPUs.
        y_BTD = F.layer_norm(y_BTHN, (self.head_size,), eps=_GROUP_NORM_EPS).flatten(2)
        y_BTD = torch.addcmul(self.ln_x.bias, y_BTD, self.ln_x.weight)
        bonus_BTH1 = (r_BTHN * k_BTHN * self.r_k).sum(-1, keepdim=True)
        y_BTD = y_BTD + (bonus_BTH1 * v_BTHN).flatten(2)
        out_BTD: Tensor = self.output(y_BTD * gate_BTD)
        return out_BTD, v_first_BTD, matrix_SHNN

    def _heads(self, x_BTD: Tensor) -> Tensor:
        return x_BTD.view(*x_BTD.shape[:-1], -1, self.head_size)

    def _recur(self, inputs: tuple[Tensor, ...], matrix_SHNN: Tensor, packing: Packing | None) -> tuple[Tensor, Tensor]:
        """Run the recurrence over ``r, log_w, k, v, a, b``, each ``[B, T, H, N]``."""
        r, log_w, *others = inputs
        # Autocast would leave some inputs in float32, and do the recurrence itself in half precision.
        k, v, a, b = (tensor.to(r.dtype) for tensor in others)
        with torch.autocast(r.device.type, enabled=False):
            if packing is None and r.shape[1] == 1:
                token = (r[:, 0], log_w[:, 0], k[:, 0], v[:, 0], a[:, 0], b[:, 0])
                y_BHN, matrix_SHNN = wkv7_step(*token, matrix_SHNN)
                return y_BHN.unsqueeze(1), matrix_SHNN
            bounds = None if packing is None else packing.bounds
            y_BTHN, final_SHNN = wkv7(
                r, log_w, k, v, a, b, state=matrix_SHNN, cu_seqlens=bounds, output_state=True, backend=self.kernel
            )
        assert final_SHNN is not None
        return y_BTHN, final_SHNN


def _biased(x_BTR: Tensor, weight_RD: Tensor, bias_11D: Tensor) -> Tensor:
    """``x_BTR @ weight_RD + bias_11D`` in one product."""
    return F.linear(x_BTR, weight_RD.mT, bias_11D.flatten())


def _unit(x_BTHN: Tensor) -> Tensor:
    """Scale each head's vector to length 1; a zero vector stays."""
    # Written out: torch's normalize has a backward several times as long.
    return x_BTHN * x_BTHN.square().sum(-1, keepdim=True).clamp_min(_KEY_NORM_EPS**2).rsqrt()
