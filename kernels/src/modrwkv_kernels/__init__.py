"""WKV-7, the recurrence of RWKV-7, as a differentiable torch function with several backends."""

from modrwkv_kernels.backend import LOG_DECAY_MIN
from modrwkv_kernels.dispatch import Dispatch, available_backends, explain_dispatch
from modrwkv_kernels.wkv import wkv7, wkv7_step

__all__ = ["LOG_DECAY_MIN", "Dispatch", "available_backends", "explain_dispatch", "wkv7", "wkv7_step"]
