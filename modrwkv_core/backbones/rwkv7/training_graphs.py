"""Training on a GPU: CUDA graphs launch a whole forward and a whole backward pass of the backbone at once.

A pass over a few thousand tokens takes the device less time than Python takes to launch it. Packed batches differ in
their lengths: a graph serves all up to a number of tokens and of sequences, and what a batch leaves of them is padding,
packed as further sequences, which nothing is learned from.

T = tokens, D = hidden size, S = sequences.
"""

from __future__ import annotations

import gc
import weakref
from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import torch
from modrwkv_kernels import CuSeqlens
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from modrwkv_core.backbones.rwkv7.capture import capture

if TYPE_CHECKING:
    from modrwkv_core.backbones.rwkv7.model import RWKV7

__all__ = ["TrainingGraphs", "training_graphs"]

MAX_GRAPHS: Final = 8
"""Pairs of graphs that are kept, the latest used."""

SEQUENCES: Final = 8
"""Numbers of sequences are rounded up to multiples of this."""

STEPS_PER_DOUBLING: Final = 16
"""Numbers of tokens are rounded up to one of so many between a power of two and the next: by less than a sixteenth."""


def rounded_tokens(tokens: int) -> int:
    """Return the tokens of the graph that serves ``tokens``, a multiple of 16."""
    step = max(16, (1 << (tokens.bit_length() - 1)) // STEPS_PER_DOUBLING)
    return -(-tokens // step) * step


class _Pass:
    """A forward pass whose backward pass may come; until then a graph's memory is not free for another."""


class _Graphs:
    """The forward and the backward pass for up to ``tokens`` tokens of fewer than ``sequences`` sequences.

    Args:
        model: The backbone.
        x_1TD: An input of the pass.
        tokens: Of a pass.
        sequences: Of a pass, those of padding included.
        pool: Memory that all graphs of the model share.
    """

    def __init__(self, model: RWKV7, x_1TD: Tensor, tokens: int, sequences: int, pool: object) -> None:
        device = x_1TD.device
        self._x = torch.zeros((1, tokens, x_1TD.shape[2]), dtype=x_1TD.dtype, device=device, requires_grad=True)
        self._offsets = torch.arange(tokens - sequences, tokens + 1, device=device)
        self._offsets[0] = 0
        self._counted = torch.arange(sequences, device=device)
        inputs = (self._x, *_learning(model))
        autocast = torch.autocast(
            device.type,
            dtype=torch.get_autocast_dtype(device.type),
            enabled=torch.is_autocast_enabled(device.type),
            cache_enabled=False,
        )

        def forward() -> Tensor:
            with autocast:
                cu_seqlens = CuSeqlens.on_device(self._offsets, tokens)
                return model.run(self._x, model.init_state(sequences), cu_seqlens)[0]

        def backward(hidden_1TD: Tensor, gradient_1TD: Tensor) -> tuple[Tensor | None, ...]:
            return torch.autograd.grad(hidden_1TD, inputs, gradient_1TD, allow_unused=True)

        # What is left of passes before would tie gradients to the stream of these.
        gc.collect()
        torch.clear_autocast_cache()

        def warm_up() -> None:
            hidden_1TD = forward()
            backward(hidden_1TD, torch.zeros_like(hidden_1TD))

        self._forward, hidden_1TD = capture(forward, warm_up, device, pool)
        self._hidden = hidden_1TD.detach()
        self._gradient = torch.zeros_like(self._hidden)
        self._backward, self._gradients = capture(lambda: backward(hidden_1TD, self._gradient), None, device, pool)

    def forward(self, x_1TD: Tensor, cu_seqlens: CuSeqlens) -> Tensor:
        """Return the hidden vectors ``[1, T, D]``, which the next call of any of the graphs overwrites."""
        tokens, sequences = x_1TD.shape[1], cu_seqlens.sequences
        with torch.no_grad():
            self._x[:, :tokens].copy_(x_1TD)
            self._x[:, tokens:].zero_()
            self._offsets[: sequences + 1].copy_(cu_seqlens.device)
            padding = self._offsets[sequences:-1]
            torch.add(self._counted[: len(padding)], tokens, out=padding)
        self._forward.replay()
        return self._hidden[:, :tokens]

    def backward(self, gradient_1TD: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the input and of each parameter that learns."""
        tokens = gradient_1TD.shape[1]
        self._gradient[:, :tokens].copy_(gradient_1TD)
        self._gradient[:, tokens:].zero_()
        self._backward.replay()
        of_x, *others = self._gradients
        assert of_x is not None, "the output depends on the input"
        return of_x[:, :tokens], *others


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, graphs: _Graphs, current: _Pass, cu_seqlens: CuSeqlens, x_1TD: Tensor, *_learning: Tensor
    ) -> Tensor:
        ctx.graphs, ctx.current = graphs, current
        return graphs.forward(x_1TD, cu_seqlens)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_1TD: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.graphs.backward(gradient_1TD)
        ctx.graphs = ctx.current = None
        return None, None, None, *gradients


class TrainingGraphs:
    """The captured passes of one backbone.

    A length is captured when it comes for the second time, if the device has room for the passes of both kinds. Graphs
    are dropped when parameters have moved, or others learn.
    """

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._current: weakref.ref[_Pass] | None = None
        self._forget(())

    def _forget(self, key: tuple[object, ...]) -> None:
        self._key = key
        self._met: Counter[tuple[object, ...]] = Counter()
        self._graphs: OrderedDict[tuple[object, ...], _Graphs] = OrderedDict()
        self._eager: tuple[int, int] | None = None
        self._pool: object = torch.cuda.graph_pool_handle()

    def __call__(self, model: RWKV7, x_1TD: Tensor, cu_seqlens: CuSeqlens) -> Tensor | None:
        """Return the hidden vectors ``[1, T, D]``, or None if the pass is not to be replayed.

        They are valid until the next call. There may be one pass at a time between its forward and its backward part.
        """
        if self._current is not None and self._current() is not None:
            return None
        key = tuple((parameter.data_ptr(), parameter.requires_grad) for parameter in model.parameters())
        if key != self._key:
            self._forget(key)
        # The padding is at least one sequence of one token.
        tokens = rounded_tokens(x_1TD.shape[1] + SEQUENCES)
        sequences = -(-(cu_seqlens.sequences + 1) // SEQUENCES) * SEQUENCES
        autocast = (torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda"))
        size = (tokens, sequences, x_1TD.dtype, autocast)
        graphs = self._graphs.get(size)
        if graphs is None:
            self._met[size] += 1
            if self._met[size] == 1 or not self._has_room(tokens, x_1TD.device):
                return None
            if len(self._graphs) == MAX_GRAPHS:
                self._graphs.popitem(last=False)
            graphs = self._graphs[size] = _Graphs(model, x_1TD, tokens, sequences, self._pool)
        self._graphs.move_to_end(size)
        current = _Pass()
        self._current = weakref.ref(current)
        hidden_1TD: Tensor = _Replay.apply(graphs, current, cu_seqlens, x_1TD, *_learning(model))  # type: ignore[no-untyped-call]
        return hidden_1TD

    def _has_room(self, tokens: int, device: torch.device) -> bool:
        """Whether the memory of passes of so many tokens is there twice, for those that are replayed and for others."""
        if self._eager is None:
            self._eager = (tokens, torch.cuda.max_memory_reserved(device))
        of_tokens, reserved = self._eager
        # Other programs may hold some of the device.
        room = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
        return 2 * reserved * max(tokens, of_tokens) <= room * of_tokens


_ALL: weakref.WeakKeyDictionary[RWKV7, TrainingGraphs] = weakref.WeakKeyDictionary()


def training_graphs(model: RWKV7) -> TrainingGraphs | None:
    """Return the graphs of a model, or None where its passes cannot be captured.

    Modules that a fine-tuning method has put in may do what cannot be, hooks would not run, and shards move.
    """
    if not model.emb.weight.is_cuda or not _is_as_built(model.modules()):
        return None
    found = _ALL.get(model)
    if found is None:
        found = _ALL[model] = TrainingGraphs()
    return found


def _is_as_built(modules: Iterable[nn.Module]) -> bool:
    return all(
        type(module).__module__.startswith(("modrwkv_core.backbones.rwkv7.", "torch.nn.modules."))
        and not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
        for module in modules
    )


def _learning(model: RWKV7) -> list[nn.Parameter]:
    """Return the parameters that get gradients through the hidden vectors, and others that learn."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
