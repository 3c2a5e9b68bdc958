"""Decoding on a GPU: states stay where they are in a pool, and a CUDA graph launches the whole step at once.

B = batch size, D = hidden size, V = vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from modrwkv_kernels import explain_dispatch
from modrwkv_kernels.decode_weights import pack
from torch import Tensor

from modrwkv_core.backbones.rwkv7.capture import capture
from modrwkv_core.backbones.rwkv7.state import RWKV7State
from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.decoding import Decoder, Decoding
from modrwkv_core.interfaces.state import State

if TYPE_CHECKING:
    from modrwkv_core.backbones.rwkv7.model import RWKV7

__all__ = ["GraphDecoder"]

_FORMATS = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


class GraphDecoder(Decoder):
    """Packed weights of an RWKV-7, a pool of states, and a captured step for each batch size.

    Sequences that start take free slots of the pool and give them back when they are closed. A full pool doubles.

    Args:
        model: The backbone, on a GPU (or, for tests of the arithmetic, where Triton's interpreter runs).
        weights: ``auto``: as the model has them. Nothing else is offered.
        slots: States that the pool begins with.

    Raises:
        ComponentError: Another way to store weights is asked for.
    """

    name = "Triton kernels in a CUDA graph"

    def __init__(self, model: RWKV7, weights: str = "auto", *, slots: int = 1) -> None:
        own = _FORMATS[model.emb.weight.dtype]
        if weights not in ("auto", own):
            raise ComponentError(
                f"weights cannot be stored as {weights!r} on {model.emb.weight.device}",
                component="backbone/rwkv7",
                hint=f"use auto or {own}, the model's own type",
            )
        self.weights = pack(model.weights(), own, transpose_value=False)
        with torch.no_grad():
            self.pool = model.init_state(slots)
        self._free = list(range(slots))
        self._steps: dict[int, _Step] = {}

    @classmethod
    def unavailable_reason(cls, model: RWKV7) -> str | None:
        """Why it cannot decode with a model on its device, or None when it can."""
        weight = model.emb.weight
        if weight.device.type != "cuda":
            return f"it takes models on a GPU, not on {weight.device}"
        if weight.dtype not in _FORMATS:
            return f"it takes float32 and bfloat16, not {weight.dtype}"
        if model.config.kernel not in ("auto", "triton"):
            return f"the configuration asks for kernel {model.config.kernel!r}"
        dispatch = explain_dispatch(
            operation="decode", device=weight.device, dtype=weight.dtype, head_size=model.sizes.head_dim
        )
        return dispatch.reasons["triton"]

    def start(self, state: State) -> Decoding:
        """Continue the sequences of ``state`` in slots of the pool."""
        assert isinstance(state, RWKV7State), type(state).__name__
        while len(self._free) < state.batch_size:
            self._grow()
        slots = [self._free.pop() for _ in range(state.batch_size)]
        index = torch.tensor(slots, device=self.pool.matrix.device)
        for pool, tensor in zip(_tensors(self.pool), _tensors(state), strict=True):
            pool.index_copy_(1, index, tensor.detach().to(pool.dtype))
        return _GraphDecoding(self, slots, index)

    def step(self, ids: Tensor, slots: Tensor) -> Tensor:
        """Decode an id in each of the slots, all different: ``[B]`` and ``[B]`` to logits ``[B, V]``."""
        if len(ids) not in self._steps:
            self._steps[len(ids)] = _Step(self, len(ids))
        return self._steps[len(ids)](ids, slots)

    def leave(self, slots: list[int]) -> None:
        """Give slots back."""
        self._free += slots

    def _grow(self) -> None:
        # Captured steps hold the addresses of the former pool.
        self._steps.clear()
        slots = self.pool.batch_size
        # The contents of new slots do not matter: sequences that start overwrite them.
        self.pool = RWKV7State.stack([self.pool, self.pool])
        self._free += range(slots, 2 * slots)


class _Step:
    """One step of a batch size; on a GPU captured once and replayed."""

    def __init__(self, decoder: GraphDecoder, rows: int) -> None:
        device = decoder.pool.matrix.device
        self._weights = decoder.weights
        self._ids = torch.zeros(rows, dtype=torch.int64, device=device)
        self._slots = torch.arange(rows, device=device)
        self._asked: Tensor | None = None  # the slots that were copied last, which are not changed in place
        self._pool = _tensors(decoder.pool)
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            self._capture()

    def __call__(self, ids: Tensor, slots: Tensor) -> Tensor:
        self._ids.copy_(ids)
        if slots is not self._asked:
            self._slots.copy_(slots)
            self._asked = slots
        if self._graph is None:
            return self._run(self._pool)
        self._graph.replay()
        return self._logits

    @torch.inference_mode()
    def _run(self, pool: tuple[Tensor, ...]) -> Tensor:
        from modrwkv_kernels.decode_triton import decode_triton

        x_BD = self._weights.embedding[self._ids]
        return decode_triton(self._weights, x_BD, self._slots, *pool)

    def _capture(self) -> None:
        # A first run must not touch the pool.
        others = tuple(tensor[:, :1].repeat_interleave(len(self._ids), dim=1) for tensor in self._pool)
        self._graph, self._logits = capture(lambda: self._run(self._pool), lambda: self._run(others), self._ids.device)


class _GraphDecoding(Decoding):
    def __init__(self, decoder: GraphDecoder, slots: list[int], index: Tensor) -> None:
        self._decoder = decoder
        self._slots = slots
        self._index = index

    def step(self, ids: Tensor) -> Tensor:
        assert self._slots, "this decoding was closed"
        return self._decoder.step(ids, self._index)

    def state(self) -> State:
        assert self._slots, "this decoding was closed"
        return self._decoder.pool.select(self._slots)

    def close(self) -> None:
        self._decoder.leave(self._slots)
        self._slots = []


def _tensors(state: RWKV7State) -> tuple[Tensor, Tensor, Tensor]:
    return state.matrix, state.time_shift, state.channel_shift
