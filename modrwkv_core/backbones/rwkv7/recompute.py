"""Selective activation checkpointing: tensors that the backward pass recomputes instead of saving them."""

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

__all__ = ["Recompute", "recomputable", "recomputing"]

Recompute = Literal["none", "selective", "full"]

Recomputation = Callable[[], Sequence[Tensor]]


def recomputing(kind: Recompute) -> Callable[..., Any]:
    """Return a function that calls a module with its inputs and saves as many activations as ``kind`` says.

    Args:
        kind: ``none`` saves everything; ``selective`` recomputes what the module declares :func:`recomputable`;
            ``full`` saves the inputs only.
    """
    if kind == "none":
        return _call
    if kind == "selective":
        return _call_in_scope
    return partial(checkpoint, use_reentrant=False, preserve_rng_state=False)


def recomputable(results: Sequence[Tensor], recompute: Recomputation) -> None:
    """Declare that the backward pass may recompute these results instead of saving them.

    Args:
        results: Tensors that a module has just computed.
        recompute: Computes equal tensors of the same layout from tensors that are saved anyway.
    """
    # A compiler decides on its own what to recompute.
    if torch.compiler.is_compiling():
        return
    scope = _SCOPE.get()
    if scope is not None:
        scope.add(results, recompute)


def _call(module: Callable[..., Any], *inputs: Any) -> Any:
    return module(*inputs)


def _call_in_scope(module: Callable[..., Any], *inputs: Any) -> Any:
    scope = _Scope()
    token = _SCOPE.set(scope)
    try:
        with saved_tensors_hooks(scope.pack, _unpack):
            return module(*inputs)
    finally:
        _SCOPE.reset(token)


class _RecomputeFn:
    """Recomputes the results of one call, once for all of their uses in a backward pass."""

    def __init__(self, recompute: Recomputation, device: str) -> None:
        self._recompute = recompute
        self._device = device
        self._autocast = (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        self._results: Sequence[Tensor] = ()
        self._left = 0
        self.handles = 0

    def result(self, index: int) -> Tensor:
        if not self._results:
            enabled, dtype = self._autocast
            with torch.no_grad(), torch.autocast(self._device, dtype=dtype, enabled=enabled):
                self._results = self._recompute()
            self._left = self.handles
        result = self._results[index]
        self._left -= 1
        if self._left == 0:
            self._results = ()
        return result


class _Handle:
    """Stands in the autograd graph for a result, or a view of one, that will be recomputed."""

    def __init__(self, fn: _RecomputeFn, index: int, view: Tensor) -> None:
        self._fn = fn
        self._index = index
        self._layout = (view.size(), view.stride(), view.storage_offset())
        fn.handles += 1

    def tensor(self) -> Tensor:
        return self._fn.result(self._index).as_strided(*self._layout)


class _Scope:
    """The recomputable results of one call of a module, by the address of their memory."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Tensor], _RecomputeFn, int]] = {}

    def add(self, results: Sequence[Tensor], recompute: Recomputation) -> None:
        fn = _RecomputeFn(recompute, results[0].device.type)
        for index, result in enumerate(results):
            self._known[result.untyped_storage().data_ptr()] = (weakref.ref(result), fn, index)

    def pack(self, tensor: Tensor) -> Tensor | _Handle:
        found = self._known.get(tensor.untyped_storage().data_ptr())
        if found is None:
            return tensor
        alive, fn, index = found
        result = alive()
        # The memory of a result that is gone may be another tensor's by now.
        if result is None or result.dtype != tensor.dtype:
            return tensor
        return _Handle(fn, index, tensor)


def _unpack(saved: Tensor | _Handle) -> Tensor:
    return saved.tensor() if isinstance(saved, _Handle) else saved


_SCOPE: ContextVar[_Scope | None] = ContextVar("scope", default=None)
