"""WKV-7, the recurrence of RWKV-7, as a differentiable torch function with several backends."""

from modrwkv_kernels.backend import LOG_DECAY_MIN
from modrwkv_kernels.dispatch import Dispatch, available_backends, explain_dispatch
from modrwkv_kernels.fused import (
    ValueResidual,
    linear,
    linear_cross_entropy,
    readout,
    relu_squared,
    time_mix_prepare,
    token_shift_mix,
)
from modrwkv_kernels.wkv import wkv7, wkv7_step

__all__ = [
    "LOG_DECAY_MIN",
    "Dispatch",
    "ValueResidual",
    "available_backends",
    "explain_dispatch",
    "linear",
    "linear_cross_entropy",
    "readout",
    "relu_squared",
    "time_mix_prepare",
    "token_shift_mix",
    "wkv7",
    "wkv7_step",
]
