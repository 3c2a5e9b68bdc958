"""Softmax, loss and gradient of the scores on CUDA devices, in place.

n = rows, V = rows of the vocabulary.
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
def _cross_entropy(scores, ids, losses, VOCABULARY: tl.constexpr, GRADIENT: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    scores += row * VOCABULARY
    column = tl.arange(0, BLOCK)
    # Largest score and sum of exponentials, each lane for itself, in one reading.
    highest = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, VOCABULARY, BLOCK):
        inside = start + column < VOCABULARY
        score = tl.load(scores + start + column, mask=inside, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(highest, score)
        # A lane beyond the vocabulary has seen nothing; -inf - -inf would be NaN.
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(highest - shift) + tl.exp(score - shift)
        highest = higher
    top = tl.max(highest)
    log_sum = top + tl.log(tl.sum(total * tl.exp(highest - top)))

    target = tl.load(ids + row)
    known = (target >= 0) & (target < VOCABULARY)
    tl.store(losses + row, log_sum - tl.load(scores + target, mask=known, other=float("nan")).to(tl.float32))
    if GRADIENT:
        tl.debug_barrier()  # The target's score is read before its gradient replaces it.
        for start in range(0, VOCABULARY, BLOCK):
            inside = start + column < VOCABULARY
            score = tl.load(scores + start + column, mask=inside, other=float("-inf")).to(tl.float32)
            gradient = tl.exp(score - log_sum) - tl.where(start + column == target, 1.0, 0.0)
            tl.store(scores + start + column, gradient, mask=inside)


def loss_and_gradient(scores_nV: Tensor, ids_n: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
    """Return the loss of each row, and the gradient of their sum in place of the scores if it is wanted."""
    rows, vocabulary = scores_nV.shape
    losses_n = scores_nV.new_empty(rows, dtype=torch.float32)
    with torch.cuda.device_of(scores_nV):
        _cross_entropy[(rows,)](
            scores_nV, ids_n, losses_n, VOCABULARY=vocabulary, GRADIENT=with_gradient, BLOCK=_BLOCK, num_warps=16
        )
    return losses_n, scores_nV
