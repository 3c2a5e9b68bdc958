"""Softmax, loss and gradient of the logits on CUDA devices, in place.

n = tokens, V = vocabulary size.
"""
# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, no-untyped-def, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["loss_and_gradient"]

_BLOCK = 8192


@triton.jit
def _cross_entropy(logits, ids, losses, VOCABULARY: tl.constexpr, GRADIENT: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    logits += row * VOCABULARY
    column = tl.arange(0, BLOCK)
    # Largest logit and sum of exponentials, each lane for itself, in one reading.
    highest = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, VOCABULARY, BLOCK):
        inside = start + column < VOCABULARY
        logit = tl.load(logits + start + column, mask=inside, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(highest, logit)
        # A lane beyond the vocabulary has seen nothing; -inf - -inf would be NaN.
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(highest - shift) + tl.exp(logit - shift)
        highest = higher
    top = tl.max(highest)
    log_sum = top + tl.log(tl.sum(total * tl.exp(highest - top)))

    target = tl.load(ids + row)
    known = (target >= 0) & (target < VOCABULARY)
    tl.store(losses + row, log_sum - tl.load(logits + target, mask=known, other=float("nan")).to(tl.float32))
    if GRADIENT:
        tl.debug_barrier()  # The target's logit is read before its gradient replaces it.
        for start in range(0, VOCABULARY, BLOCK):
            inside = start + column < VOCABULARY
            logit = tl.load(logits + start + column, mask=inside, other=float("-inf")).to(tl.float32)
            gradient = tl.exp(logit - log_sum) - tl.where(start + column == target, 1.0, 0.0)
            tl.store(logits + start + column, gradient, mask=inside)


def loss_and_gradient(logits_nV: Tensor, ids_n: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
    """Return the loss of each token, and the gradient of their sum in place of the logits if it is wanted."""
    tokens, vocabulary = logits_nV.shape
    losses_n = logits_nV.new_empty(tokens, dtype=torch.float32)
    with torch.cuda.device_of(logits_nV):
        _cross_entropy[(tokens,)](
            logits_nV, ids_n, losses_n, VOCABULARY=vocabulary, GRADIENT=with_gradient, BLOCK=_BLOCK, num_warps=16
        )
    return losses_n, logits_nV
