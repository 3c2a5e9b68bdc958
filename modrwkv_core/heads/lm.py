"""The language-model head.

n = supervised positions, D = hidden size of the backbone, V = rows of the vocabulary.
"""

from __future__ import annotations

from modrwkv_kernels import linear_cross_entropy
from torch import Tensor

from modrwkv_core.heads.config import LanguageModelConfig
from modrwkv_core.interfaces.component import TokenHead
from modrwkv_core.interfaces.decoding import Decoder

__all__ = ["LanguageModelHead"]


class LanguageModelHead(TokenHead[LanguageModelConfig]):
    """Predicts the next token by the backbone's own output projection; has no weights itself.

    The logits of a large vocabulary would take more memory than the backbone; the loss never holds all of them.
    """

    def supervise(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats of ``ids [n]`` under the logits of ``hidden [n, D]``."""
        assert len(hidden) == len(ids) > 0, f"{len(hidden)} hidden vectors for {len(ids)} ids"
        return linear_cross_entropy(hidden, self.backbone.output_weight, ids) / len(ids)

    def predict(self, hidden: Tensor) -> Tensor:
        """Return the backbone's logits."""
        return self.backbone.logits(hidden)

    def decoder(self, weights: str = "auto") -> Decoder:
        """Return the backbone's own decoder, which fuses this head's projection."""
        return self.backbone.decoder(weights)
