"""The language-model head.

n = answers, D = trunk width, V = rows of the vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from modrwkv_core.heads.config import LanguageModelConfig
from modrwkv_core.interfaces.component import Backbone, Head

__all__ = ["LanguageModelHead"]

LOGITS_AT_ONCE = 2**26
"""Scores that may exist at one time: 256 MiB in float32, 1,024 positions of a vocabulary of 65,536."""


class LanguageModelHead(Head[LanguageModelConfig, Tensor]):
    """Scores next tokens by the backbone's own output projection; has no weights itself.

    The scores of a large vocabulary would take more memory than the trunk. They are therefore made for a slice of the
    positions at a time and made again in the backward pass.
    """

    def __init__(self, config: LanguageModelConfig, backbone: Backbone[Any]) -> None:
        super().__init__(config, backbone)
        self.slice_length = max(1, LOGITS_AT_ONCE // backbone.vocab_size)
        # The bound method, not the module: as a submodule the trunk would be saved and trained twice.
        self.logits = backbone.logits

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats of the ids ``targets [n]`` under the scores of ``hidden [n, D]``."""
        assert len(hidden) == len(targets) > 0, f"{len(hidden)} hidden vectors for {len(targets)} ids"
        if len(targets) <= self.slice_length:
            return self._cross_entropy(hidden, targets) / len(targets)
        slices = [slice(start, start + self.slice_length) for start in range(0, len(targets), self.slice_length)]
        sums = [checkpoint(self._cross_entropy, hidden[part], targets[part], use_reentrant=False) for part in slices]
        return torch.stack(sums).sum() / len(targets)

    def _cross_entropy(self, hidden_nD: Tensor, ids_n: Tensor) -> Tensor:
        return functional.cross_entropy(self.logits(hidden_nD).float(), ids_n, reduction="sum")
