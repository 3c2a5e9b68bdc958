"""How likely a model holds texts that continue what it has read.

B = texts, L = tokens of the longest, T = tokens of one pass, D = hidden size of the backbone, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from modrwkv_core.interfaces.component import Backbone, TokenHead
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.interfaces.likelihood import LogLikelihood
from modrwkv_core.interfaces.state import State

__all__ = ["continuation_likelihoods"]

_TOKENS: Final = 4096
"""Tokens of all texts that the backbone reads at a time."""

_LOGITS: Final = 512
"""Tokens whose logits are held at a time."""


@torch.inference_mode()
def continuation_likelihoods(
    backbone: Backbone[Any], head: TokenHead[Any], logits: Tensor, state: State, texts: Sequence[Sequence[int]]
) -> list[LogLikelihood]:
    """Score one text after each state.

    Args:
        backbone: Reads the texts.
        head: Predicts their tokens.
        logits: Of the first token of each text, ``[B, V]``.
        state: The backbone's, of B sequences.
        texts: The ids of each text, at least one.
    """
    lengths = torch.tensor([len(ids) for ids in texts])
    ids_BL = torch.zeros(len(texts), int(lengths.max()), dtype=torch.int64)
    for row, ids in enumerate(texts):
        ids_BL[row, : len(ids)] = torch.tensor(ids)
    ids_BL = ids_BL.to(logits.device)
    totals, greedy = torch.zeros(len(texts), dtype=torch.float64), torch.ones(len(texts), dtype=torch.bool)

    def add(rows: Tensor, targets: Tensor, predicted: Tensor) -> None:
        log_probabilities = predicted.float().log_softmax(dim=-1)
        totals.index_add_(0, rows, log_probabilities.gather(1, targets[:, None])[:, 0].double().cpu())
        missed = (log_probabilities.argmax(dim=-1) != targets).cpu()
        greedy[rows[missed]] = False

    add(torch.arange(len(texts)), ids_BL[:, 0], logits)
    chunk = max(1, _TOKENS // len(texts))
    for start in range(0, ids_BL.shape[1] - 1, chunk):
        stop = min(start + chunk, ids_BL.shape[1] - 1)
        with guard(backbone.origin, "forward()"):
            hidden_BTD, state = backbone(backbone.embed(ids_BL[:, start:stop]), state=state)
        # A right-padded row is never read past its end: what follows it is left out here.
        inside_BT = torch.arange(start + 1, stop + 1)[None] < lengths[:, None]
        rows = inside_BT.nonzero()[:, 0]
        inside_BT = inside_BT.to(logits.device)
        hidden, targets = hidden_BTD[inside_BT], ids_BL[:, start + 1 : stop + 1][inside_BT]
        for first in range(0, len(rows), _LOGITS):
            some = slice(first, first + _LOGITS)
            with guard(head.origin, "predict()"):
                predicted = head.predict(hidden[some])
            add(rows[some], targets[some], predicted)
    return [
        LogLikelihood(total, length, hit)
        for total, length, hit in zip(totals.tolist(), lengths.tolist(), greedy.tolist(), strict=True)
    ]
