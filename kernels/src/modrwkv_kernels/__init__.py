"""WKV-7, the recurrence of RWKV-7, as a differentiable torch function with several backends."""

from modrwkv_kernels.backend import LOG_DECAY_MIN
from modrwkv_kernels.cu_seqlens import CuSeqlens
from modrwkv_kernels.dispatch import Dispatch, available_backends, disabled_kernels, explain_dispatch
from modrwkv_kernels.fused import (
    ValueResidual,
    fused_k_update,
    gate_output,
    linear,
    linear_cross_entropy,
    relu_squared,
    token_shift_mix,
)
from modrwkv_kernels.wkv import wkv7, wkv7_step

__all__ = [
    "LOG_DECAY_MIN",
    "CuSeqlens",
    "Dispatch",
    "ValueResidual",
    "available_backends",
    "disabled_kernels",
    "explain_dispatch",
    "fused_k_update",
    "gate_output",
    "linear",
    "linear_cross_entropy",
    "relu_squared",
    "token_shift_mix",
    "wkv7",
    "wkv7_step",
]
