"""What a block's backward pass makes again instead of keeping it from the forward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

__all__ = ["Recompute", "recomputing"]

Recompute = Literal["none", "cheap", "all"]

_PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default)


def recomputing(kind: Recompute) -> Callable[..., Any]:
    """Return a function that calls a module with its inputs and keeps as much of the way as ``kind`` says.

    Args:
        kind: ``none`` keeps everything; ``cheap`` keeps the results of matrix products and of the recurrence and makes
            what lies between them again; ``all`` keeps the inputs only.
    """
    if kind == "none":
        return _call
    options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
    if kind == "cheap":
        options["context_fn"] = partial(create_selective_checkpoint_contexts, _policy)
    return partial(checkpoint, **options)


def _call(module: Callable[..., Any], *inputs: Any) -> Any:
    return module(*inputs)


def _policy(_: Any, op: Any, *args: Any, **options: Any) -> CheckpointPolicy:
    if op in _PRODUCTS or "wkv7" in str(op):
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE
