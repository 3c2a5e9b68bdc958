"""The language-model head.

n = answers, D = hidden size of the backbone, V = rows of the vocabulary.
"""

from __future__ import annotations

from typing import Any

from modrwkv_kernels import linear_cross_entropy
from torch import Tensor

from modrwkv_core.heads.config import LanguageModelConfig
from modrwkv_core.interfaces.component import Backbone, Head

__all__ = ["LanguageModelHead"]


class LanguageModelHead(Head[LanguageModelConfig, Tensor]):
    """Scores next tokens by the backbone's own output projection; has no weights itself.

    The scores of a large vocabulary would take more memory than the backbone; the loss never holds all of them.
    """

    def __init__(self, config: LanguageModelConfig, backbone: Backbone[Any]) -> None:
        super().__init__(config, backbone)
        # In a tuple, because as a submodule the backbone would be saved and trained twice.
        self._backbone = (backbone,)

    def loss(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats of the ids ``targets [n]`` under the scores of ``hidden [n, D]``."""
        assert len(hidden) == len(targets) > 0, f"{len(hidden)} hidden vectors for {len(targets)} ids"
        return linear_cross_entropy(hidden, self._backbone[0].output_weight, targets) / len(targets)
