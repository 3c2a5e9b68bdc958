"""What surrounds the recurrence in an RWKV-7, each stage fused into one pass over memory.

Every function has a plain torch implementation, which autograd differentiates. :mod:`modrwkv_kernels.dispatch` says
which kernel serves a call instead, and why.
"""

from modrwkv_kernels.fused.cross_entropy import linear_cross_entropy
from modrwkv_kernels.fused.gate_output import gate_output
from modrwkv_kernels.fused.k_update import ValueResidual, fused_k_update
from modrwkv_kernels.fused.linear import linear
from modrwkv_kernels.fused.relu_squared import relu_squared
from modrwkv_kernels.fused.token_shift import token_shift_mix

__all__ = [
    "ValueResidual",
    "fused_k_update",
    "gate_output",
    "linear",
    "linear_cross_entropy",
    "relu_squared",
    "token_shift_mix",
]
