"""What surrounds the recurrence in an RWKV-7, each stage fused into one pass over memory.

Every function has a plain torch implementation, which autograd differentiates and which serves CPUs and float64, and
a Triton kernel with a hand-written gradient for the other dtypes on CUDA devices.
"""

from modrwkv_kernels.fused.cross_entropy import linear_cross_entropy
from modrwkv_kernels.fused.linear import linear
from modrwkv_kernels.fused.prepare import ValueResidual, time_mix_prepare
from modrwkv_kernels.fused.readout import readout
from modrwkv_kernels.fused.relu_squared import relu_squared
from modrwkv_kernels.fused.token_shift import token_shift_mix

__all__ = [
    "ValueResidual",
    "linear",
    "linear_cross_entropy",
    "readout",
    "relu_squared",
    "time_mix_prepare",
    "token_shift_mix",
]
