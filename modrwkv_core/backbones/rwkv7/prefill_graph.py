"""Prefill on a GPU: a CUDA graph launches a whole pass over a chunk of one sequence at once.

A pass over a few hundred tokens takes the device less time than Python takes to launch it. The state carries over from
chunk to chunk, so one captured graph serves prompts of every length.

B = batch size, T = tokens, D = hidden size.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from modrwkv_kernels import CuSeqlens
from torch import Tensor

from modrwkv_core.backbones.rwkv7.capture import capture
from modrwkv_core.backbones.rwkv7.state import RWKV7State
from modrwkv_core.backbones.rwkv7.token_shift import Tail

if TYPE_CHECKING:
    from modrwkv_core.backbones.rwkv7.model import RWKV7

__all__ = ["PrefillGraph", "prefill_graph"]

CHUNK = 512  # tokens of a pass


class PrefillGraph:
    """A backbone's pass over up to ``chunk`` tokens of one sequence, on a GPU captured once and replayed.

    Each pass processes a full buffer. What a chunk leaves of it is ignored padding, packed as a second sequence.

    Args:
        model: The backbone. Its parameters must stay where they are.
        chunk: Tokens of a pass, a multiple of 16.
    """

    def __init__(self, model: RWKV7, chunk: int = CHUNK) -> None:
        self.chunk = chunk
        # The second sequence is never empty; the kernels like multiples of 16.
        length = chunk + 16
        self._x = model.emb.weight.detach().new_zeros(1, length, model.hidden_size)
        self._offsets = torch.tensor([0, chunk, length], device=self._x.device)
        self._before = model.init_state(2)
        self._graph: torch.cuda.CUDAGraph | None = None
        if self._x.is_cuda:
            run = partial(self._run, model)
            self._graph, (self._hidden, self._after) = capture(run, run, self._x.device)
        else:
            self._model = model

    @torch.inference_mode()
    def __call__(self, x_1TD: Tensor, state: RWKV7State) -> tuple[Tensor, RWKV7State]:
        """Prefill ``[1, T, D]``; return the last hidden vector ``[1, D]`` and the state after it."""
        *earlier, final_1TD = torch.split(x_1TD, self.chunk, dim=1)
        for chunk_1TD in earlier:
            _, state = self._pass(chunk_1TD, state)
        return self._pass(final_1TD, state)

    def _pass(self, chunk_1TD: Tensor, state: RWKV7State) -> tuple[Tensor, RWKV7State]:
        tokens = chunk_1TD.shape[1]
        self._x[:, :tokens].copy_(chunk_1TD)
        self._offsets[1:2].fill_(tokens)
        for ours, given in zip(_tensors(self._before), _tensors(state), strict=True):
            ours[:, :1].copy_(given)
        if self._graph is None:
            self._hidden, self._after = self._run(self._model)
        else:
            self._graph.replay()
        return self._hidden.clone(), RWKV7State(*(tensor[:, :1].clone() for tensor in _tensors(self._after)))

    @torch.inference_mode()
    def _run(self, model: RWKV7) -> tuple[Tensor, RWKV7State]:
        offsets, length = self._offsets, self._x.shape[1]
        cu_seqlens = CuSeqlens.on_device(offsets, length) if self._x.is_cuda else CuSeqlens.of(offsets)
        hidden_2D, after = model.run(self._x, self._before, cu_seqlens, Tail(cu_seqlens))
        return hidden_2D[:1], after


_GRAPHS: WeakKeyDictionary[RWKV7, tuple[tuple[int, ...], PrefillGraph | None]] = WeakKeyDictionary()


def prefill_graph(model: RWKV7) -> PrefillGraph | None:
    """Return the captured pass of a model on a GPU, or None for its first prompt, which is faster without a capture.

    Where parameters have moved since, the model counts as new.
    """
    addresses = tuple(parameter.data_ptr() for parameter in model.parameters())
    known, graph = _GRAPHS.get(model, (None, None))
    if known != addresses:
        _GRAPHS[model] = (addresses, None)
        return None
    if graph is None:
        graph = PrefillGraph(model)
        _GRAPHS[model] = (addresses, graph)
    return graph


def _tensors(state: RWKV7State) -> tuple[Tensor, Tensor, Tensor]:
    return state.matrix, state.time_shift, state.channel_shift
