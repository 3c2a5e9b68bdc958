"""The head of connectionist temporal classification.

N = media, L = vectors of the longest, D = hidden size of the backbone, V = rows of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from modrwkv_core.heads.config import CtcConfig
from modrwkv_core.interfaces.component import Backbone, TranscriptHead
from modrwkv_core.interfaces.values import Features

__all__ = ["CtcHead"]


class CtcHead(TranscriptHead[CtcConfig]):
    """A linear map of each hidden vector to the vocabulary and a blank, which is its last row.

    Source: Graves et al., ICML 2006.
    """

    def __init__(self, config: CtcConfig, backbone: Backbone[Any]) -> None:
        super().__init__(config, backbone)
        self.blank = backbone.vocab_size
        self.dropout = nn.Dropout(config.dropout)
        self.projection = nn.Linear(backbone.hidden_size, backbone.vocab_size + 1)

    def supervise(self, hidden: Features, transcripts: Sequence[Tensor]) -> Tensor:
        """Return the mean over media of the negative log-likelihood in nats for each token."""
        logits_NLV = self.projection(self.dropout(hidden.values))
        sizes = torch.tensor([len(ids) for ids in transcripts])
        losses_N = functional.ctc_loss(
            logits_NLV.float().log_softmax(-1).transpose(0, 1),
            torch.cat(list(transcripts)),
            hidden.lengths,
            sizes,
            blank=self.blank,
            reduction="none",
            zero_infinity=True,
        )
        return (losses_N / sizes.to(losses_N.device, non_blocking=True)).mean()

    def predict(self, hidden: Features) -> list[list[int]]:
        """Return the likeliest token of each vector, without repetitions and blanks."""
        best_NL = self.projection(hidden.values).argmax(-1).tolist()
        return [self._collapsed(best[:length]) for best, length in zip(best_NL, hidden.lengths.tolist(), strict=True)]

    def _collapsed(self, best: Sequence[int]) -> list[int]:
        before = [self.blank, *best]
        return [token for token, last in zip(best, before, strict=False) if token not in (last, self.blank)]
