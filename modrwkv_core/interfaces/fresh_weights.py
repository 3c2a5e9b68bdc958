"""Modules whose weights a checkpoint is about to bring need not draw any."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["draws_weights", "weights_to_come"]

_DRAWS: Final = frozenset(
    {Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_}
)
"""What random numbers are written by; those of :mod:`torch.nn.init` that are not here write them by one of these."""

_TO_COME: ContextVar[bool] = ContextVar("weights_to_come", default=False)


def draws_weights() -> bool:
    """Return whether a module that is being constructed must draw its weights.

    Constructors whose weights take long to draw ask it, and fill them with NaN if not. Within :func:`weights_to_come`,
    all other random parameters are NaN anyway.
    """
    return not _TO_COME.get()


@contextmanager
def weights_to_come() -> Iterator[None]:
    """Construct modules without random weights: drawing those of a large model takes longer than loading it.

    In the place of random numbers, parameters hold NaN, so that one that nothing is loaded into is found. Buffers, and
    parameters that hold constants, are made as ever.
    """
    token = _TO_COME.set(True)
    try:
        with _WithoutDraws():
            yield
    finally:
        _TO_COME.reset(token)


class _WithoutDraws(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWS:
            tensor = args[0] if args else kwargs["tensor"]
            if isinstance(tensor, nn.Parameter):
                with torch.no_grad():
                    return tensor.fill_(math.nan)
        return func(*args, **kwargs)
