"""Decoding on the CPU: one compiled call takes a token through all layers.

B = batch size, D = hidden size, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from modrwkv_kernels import explain_dispatch
from modrwkv_kernels.decode_op import decode_cpu
from modrwkv_kernels.decode_weights import FORMATS, lossless_format, pack
from torch import Tensor

from modrwkv_core.backbones.rwkv7.state import RWKV7State
from modrwkv_core.backbones.rwkv7.state_pool import StatePool
from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.decoding import Decoder, Decoding
from modrwkv_core.interfaces.state import State

if TYPE_CHECKING:
    from modrwkv_core.backbones.rwkv7.model import RWKV7

__all__ = ["CompiledDecoder"]


class CompiledDecoder(Decoder):
    """Packed weights of an RWKV-7 and the compiled step that reads them. All arithmetic is float32.

    Args:
        model: The backbone, on the CPU.
        weights: ``float32``, ``bfloat16`` (exact for official checkpoints, half the time), ``int8`` (a quarter of
            the time, logits off by about a hundredth), or ``auto``: the smaller lossless one of the first two.

    Raises:
        ComponentError: Weights cannot be stored that way.
    """

    def __init__(self, model: RWKV7, weights: str = "auto") -> None:
        if weights not in ("auto", *FORMATS):
            raise ComponentError(
                f"weights cannot be stored as {weights!r}",
                component="backbone/rwkv7",
                hint=f"use auto, {', '.join(FORMATS)}",
            )
        tensors = model.weights()
        self.format = lossless_format(tensors.values()) if weights == "auto" else weights
        self.name = f"compiled for the CPU, weights in {self.format}"
        self.weights = pack(tensors, self.format, transpose_value=True)
        self._dtype = model.emb.weight.dtype

    @classmethod
    def unavailable_reason(cls, model: RWKV7) -> str | None:
        """Why it cannot decode with a model on its device, or None when it can."""
        weight = model.emb.weight
        if model.config.kernel not in ("auto", "cpu"):
            return f"the configuration asks for kernel {model.config.kernel!r}"
        dispatch = explain_dispatch(
            operation="decode", device=weight.device, dtype=weight.dtype, head_size=model.sizes.head_dim
        )
        return dispatch.reasons["cpu"]

    def start(self, state: State) -> Decoding:
        """Continue the sequences of ``state``."""
        assert isinstance(state, RWKV7State), type(state).__name__
        return _CompiledDecoding(self, state, self._dtype)


class _CompiledDecoding(Decoding):
    def __init__(self, decoder: CompiledDecoder, state: RWKV7State, dtype: torch.dtype) -> None:
        self._weights = decoder.weights
        self._dtype = dtype
        copied = (tensor.detach().to(torch.float32, copy=True).contiguous() for tensor in _tensors(state))
        self._pool = StatePool(RWKV7State(*copied))
        self._slots = sorted(self._pool.take(state.batch_size))
        self._index = torch.tensor(self._slots)

    @torch.inference_mode()
    def step(self, ids: Tensor) -> Tensor:
        x_BD = self._weights.embedding[ids].float()
        return decode_cpu(self._weights, x_BD, self._index, *self._pool.tensors)

    def state(self, rows: Sequence[int] | None = None) -> State:
        slots = self._slots if rows is None else [self._slots[row] for row in rows]
        matrix, *shifts = _tensors(self._pool.states.select(slots))
        return RWKV7State(matrix, *(tensor.to(self._dtype) for tensor in shifts))

    def join(self, state: State) -> None:
        assert isinstance(state, RWKV7State), type(state).__name__
        self._slots += self._pool.put(state)
        self._index = torch.tensor(self._slots)

    def keep(self, rows: Sequence[int]) -> None:
        kept = [self._slots[row] for row in rows]
        self._pool.give_back(sorted(set(self._slots) - set(kept)))
        self._slots = kept
        self._index = torch.tensor(kept, dtype=torch.int64)


def _tensors(state: RWKV7State) -> tuple[Tensor, Tensor, Tensor]:
    return state.matrix, state.time_shift, state.channel_shift
