"""Decoding on a GPU: states stay where they are in a pool, and a CUDA graph launches the whole step at once.

B = batch size, D = hidden size, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from modrwkv_kernels import explain_dispatch
from modrwkv_kernels.decode_weights import pack
from torch import Tensor

from modrwkv_core.backbones.rwkv7.capture import capture
from modrwkv_core.backbones.rwkv7.state import RWKV7State
from modrwkv_core.backbones.rwkv7.state_pool import StatePool
from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.decoding import Decoder, Decoding
from modrwkv_core.interfaces.state import State

if TYPE_CHECKING:
    from modrwkv_core.backbones.rwkv7.model import RWKV7

__all__ = ["GraphDecoder"]

_FORMATS = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


class GraphDecoder(Decoder):
    """Packed weights of an RWKV-7, a pool of states, and a captured step for each power of two of the batch size.

    Sequences take free slots of the pool and give them back when they leave. Slots of its own fill a batch up to the
    next power of two, so that sequences join and leave without a capture for each number of them.

    Args:
        model: The backbone, on a GPU (or, for tests of the arithmetic, where Triton's interpreter runs).
        weights: The type that the model has, or ``auto`` for it.
        slots: States that the pool begins with.

    Raises:
        ComponentError: Another way to store weights is asked for.
    """

    def __init__(self, model: RWKV7, weights: str = "auto", *, slots: int = 1) -> None:
        own = _FORMATS[model.emb.weight.dtype]
        if weights not in ("auto", own):
            raise ComponentError(
                f"weights cannot be stored as {weights!r} on {model.emb.weight.device}",
                component="backbone/rwkv7",
                hint=f"the model is {own}: use auto, or load the run with float32 or bfloat16",
            )
        self.name = f"Triton kernels in a CUDA graph, weights in {own}"
        self.weights = pack(model.weights(), own, transpose_value=False)
        with torch.no_grad():
            self.pool = StatePool(model.init_state(slots))
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
        decoding = _GraphDecoding(self)
        decoding.join(state)
        return decoding

    # In inference mode throughout: what an engine's thread has captured or added is written to by others, too.
    @torch.inference_mode()
    def step(self, ids: Tensor, slots: Tensor) -> Tensor:
        """Decode an id in each of the slots, all different: ``[B]`` and ``[B]`` to logits ``[B, V]``."""
        step = self._steps.get(len(ids))
        # Captured steps hold the addresses of the pool, which moves when it grows.
        if step is None or step.pool[0] is not self.pool.states.matrix:
            step = self._steps[len(ids)] = _Step(self, len(ids))
        return step(ids, slots)


class _Step:
    """One step of a batch size; on a GPU captured once and replayed."""

    def __init__(self, decoder: GraphDecoder, rows: int) -> None:
        device = decoder.pool.states.matrix.device
        self._weights = decoder.weights
        self._ids = torch.zeros(rows, dtype=torch.int64, device=device)
        self._slots = torch.arange(rows, device=device)
        self._asked: Tensor | None = None  # the slots that were copied last, which are not changed in place
        self.pool = decoder.pool.tensors
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            self._capture()

    def __call__(self, ids: Tensor, slots: Tensor) -> Tensor:
        self._ids.copy_(ids)
        if slots is not self._asked:
            self._slots.copy_(slots)
            self._asked = slots
        if self._graph is None:
            return self._run(self.pool)
        self._graph.replay()
        return self._logits

    def _run(self, pool: tuple[Tensor, ...]) -> Tensor:
        from modrwkv_kernels.decode_triton import decode_triton

        x_BD = self._weights.embedding[self._ids]
        return decode_triton(self._weights, x_BD, self._slots, *pool)

    def _capture(self) -> None:
        # A first run must not touch the pool.
        others = tuple(tensor[:, :1].repeat_interleave(len(self._ids), dim=1) for tensor in self.pool)
        self._graph, self._logits = capture(lambda: self._run(self.pool), lambda: self._run(others), self._ids.device)


class _GraphDecoding(Decoding):
    def __init__(self, decoder: GraphDecoder) -> None:
        self._decoder = decoder
        self._slots: list[int] = []
        self._padding: list[int] = []

    def step(self, ids: Tensor) -> Tensor:
        assert self._slots, "this decoding was closed, or its batch is empty"
        rows = len(ids)
        padded = torch.nn.functional.pad(ids, (0, len(self._padding)))
        return self._decoder.step(padded, self._index)[:rows]

    def state(self, rows: Sequence[int] | None = None) -> State:
        assert self._slots, "this decoding was closed, or its batch is empty"
        slots = self._slots if rows is None else [self._slots[row] for row in rows]
        return self._decoder.pool.states.select(slots)

    @torch.inference_mode()
    def join(self, state: State) -> None:
        assert isinstance(state, RWKV7State), type(state).__name__
        # The padding's slots serve before the pool grows.
        self._decoder.pool.give_back(self._padding)
        self._padding, joined = [], []
        try:
            joined = self._decoder.pool.put(state)
        finally:
            self._arrange(self._slots + joined)

    def keep(self, rows: Sequence[int]) -> None:
        kept = [self._slots[row] for row in rows]
        self._decoder.pool.give_back(sorted(set(self._slots) - set(kept)))
        self._arrange(kept)

    def close(self) -> None:
        self.keep([])

    def _arrange(self, slots: list[int]) -> None:
        pool = self._decoder.pool
        pool.give_back(self._padding)
        bucket = 1 << (len(slots) - 1).bit_length() if slots else 0
        self._slots = slots
        self._padding = pool.take(bucket - len(slots))
        self._index = torch.tensor(slots + self._padding, dtype=torch.int64, device=pool.states.matrix.device)
