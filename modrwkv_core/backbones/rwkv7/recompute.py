"""What a block's backward pass makes again instead of keeping it from the forward pass."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

__all__ = ["Recompute", "cheap", "recomputing"]

Recompute = Literal["none", "selective", "full"]

Make = Callable[[], Sequence[Tensor]]


def recomputing(kind: Recompute) -> Callable[..., Any]:
    """Return a function that calls a module with its inputs and keeps as much of the way as ``kind`` says.

    Args:
        kind: ``none`` keeps everything; ``selective`` recomputes what the module declares :func:`cheap`; ``full``
            keeps the inputs only.
    """
    if kind == "none":
        return _call
    if kind == "selective":
        return _call_and_forget
    return partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


def cheap(results: Sequence[Tensor], make: Make) -> None:
    """Declare that results need not be kept for the backward pass, because it is cheap to make them again.

    Args:
        results: Tensors that a module has just made.
        make: Makes equal ones, of the same layout, from what is kept anyway.
    """
    # A compiler decides on its own what to make again.
    if torch.compiler.is_compiling():
        return
    forgotten = _FORGOTTEN.get()
    if forgotten is not None:
        forgotten.add(results, make)


def _call(module: Callable[..., Any], *inputs: Any) -> Any:
    return module(*inputs)


def _call_and_forget(module: Callable[..., Any], *inputs: Any) -> Any:
    forgotten = _Forgotten()
    token = _FORGOTTEN.set(forgotten)
    try:
        with saved_tensors_hooks(forgotten.pack, _unpack):
            return module(*inputs)
    finally:
        _FORGOTTEN.reset(token)


class _Recipe:
    """Makes the results of one call again, once for all who ask for them in a backward pass."""

    def __init__(self, make: Make, device: str) -> None:
        self._make = make
        self._device = device
        self._autocast = (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        self._made: Sequence[Tensor] = ()
        self._left = 0
        self.asked = 0

    def result(self, index: int) -> Tensor:
        if not self._made:
            enabled, dtype = self._autocast
            with torch.no_grad(), torch.autocast(self._device, dtype=dtype, enabled=enabled):
                self._made = self._make()
            self._left = self.asked
        result = self._made[index]
        self._left -= 1
        if self._left == 0:
            self._made = ()
        return result


class _Ingredient:
    """Stands in the graph for a result, or a view of one, that will be made again."""

    def __init__(self, recipe: _Recipe, index: int, view: Tensor) -> None:
        self._recipe = recipe
        self._index = index
        self._layout = (view.size(), view.stride(), view.storage_offset())
        recipe.asked += 1

    def tensor(self) -> Tensor:
        return self._recipe.result(self._index).as_strided(*self._layout)


class _Forgotten:
    """The results that one call of a module need not keep, by the address of their memory."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Tensor], _Recipe, int]] = {}

    def add(self, results: Sequence[Tensor], make: Make) -> None:
        recipe = _Recipe(make, results[0].device.type)
        for index, result in enumerate(results):
            self._known[result.untyped_storage().data_ptr()] = (weakref.ref(result), recipe, index)

    def pack(self, tensor: Tensor) -> Tensor | _Ingredient:
        found = self._known.get(tensor.untyped_storage().data_ptr())
        if found is None:
            return tensor
        alive, recipe, index = found
        result = alive()
        # The memory of a result that is gone may be another tensor's by now.
        if result is None or result.dtype != tensor.dtype:
            return tensor
        return _Ingredient(recipe, index, tensor)


def _unpack(kept: Tensor | _Ingredient) -> Tensor:
    return kept.tensor() if isinstance(kept, _Ingredient) else kept


_FORGOTTEN: ContextVar[_Forgotten | None] = ContextVar("forgotten", default=None)
