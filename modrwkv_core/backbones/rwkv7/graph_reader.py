"""Reading on a GPU: a CUDA graph launches a whole pass over a piece of one sequence at once.

A pass over a few hundred tokens takes the device less time than Python takes to launch it. The state carries over from
piece to piece, so one recording serves prompts of every length.

B = rows, T = tokens, D = hidden size.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from modrwkv_core.backbones.rwkv7.recording import record
from modrwkv_core.backbones.rwkv7.state import RWKV7State
from modrwkv_core.backbones.rwkv7.token_shift import Packing, Tail

if TYPE_CHECKING:
    from modrwkv_core.backbones.rwkv7.model import RWKV7

__all__ = ["GraphReader", "graph_reader"]

_PIECE = 512  # tokens of a pass


class GraphReader:
    """A trunk's pass over up to ``piece`` tokens of one sequence, on a GPU recorded once and replayed.

    Each pass reads a full buffer. What a piece leaves of it is a second sequence, which nobody looks at.

    Args:
        model: The trunk. Its parameters must stay where they are.
        piece: Tokens of a pass, a multiple of 16.
    """

    def __init__(self, model: RWKV7, piece: int = _PIECE) -> None:
        self.piece = piece
        # The second sequence is never empty; the kernels like multiples of 16.
        length = piece + 16
        self._x = model.emb.weight.detach().new_zeros(1, length, model.hidden_size)
        self._bounds = torch.tensor([0, piece, length], device=self._x.device)
        self._before = model.init_state(2)
        self._graph: torch.cuda.CUDAGraph | None = None
        if self._x.is_cuda:
            run = partial(self._run, model)
            self._graph, (self._hidden, self._after) = record(run, run, self._x.device)
        else:
            self._model = model

    @torch.inference_mode()
    def __call__(self, x_1TD: Tensor, state: RWKV7State) -> tuple[Tensor, RWKV7State]:
        """Read ``[1, T, D]``; return the last hidden vector ``[1, D]`` and the state behind it."""
        *earlier, final_1TD = torch.split(x_1TD, self.piece, dim=1)
        for piece_1TD in earlier:
            _, state = self._pass(piece_1TD, state)
        return self._pass(final_1TD, state)

    def _pass(self, piece_1TD: Tensor, state: RWKV7State) -> tuple[Tensor, RWKV7State]:
        tokens = piece_1TD.shape[1]
        self._x[:, :tokens].copy_(piece_1TD)
        self._bounds[1:2].fill_(tokens)
        for ours, given in zip(_tensors(self._before), _tensors(state), strict=True):
            ours[:, :1].copy_(given)
        if self._graph is None:
            self._hidden, self._after = self._run(self._model)
        else:
            self._graph.replay()
        return self._hidden.clone(), RWKV7State(*(tensor[:, :1].clone() for tensor in _tensors(self._after)))

    @torch.inference_mode()
    def _run(self, model: RWKV7) -> tuple[Tensor, RWKV7State]:
        packing = Packing(self._bounds, self._bounds[:-1], self._bounds[1:] - 1)
        hidden_2D, after = model.run(self._x, self._before, packing, Tail(packing))
        return hidden_2D[:1], after


_READERS: WeakKeyDictionary[RWKV7, tuple[tuple[int, ...], GraphReader | None]] = WeakKeyDictionary()


def graph_reader(model: RWKV7) -> GraphReader | None:
    """Return the recorded pass of a model on a GPU, or None for its first prompt, which is read sooner without one.

    Where parameters have moved since, the model counts as new.
    """
    addresses = tuple(parameter.data_ptr() for parameter in model.parameters())
    known, reader = _READERS.get(model, (None, None))
    if known != addresses:
        _READERS[model] = (addresses, None)
        return None
    if reader is None:
        reader = GraphReader(model)
        _READERS[model] = (addresses, reader)
    return reader


def _tensors(state: RWKV7State) -> tuple[Tensor, Tensor, Tensor]:
    return state.matrix, state.time_shift, state.channel_shift
