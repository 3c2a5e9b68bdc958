"""Full fine-tuning."""

from __future__ import annotations

from modrwkv_core.interfaces.component import Component
from modrwkv_core.interfaces.finetuning import FinetuningMethod
from modrwkv_core.training.config import FullConfig

__all__ = ["FullFinetuning"]


class FullFinetuning(FinetuningMethod[FullConfig]):
    """Trains all parameters of the parts."""

    def trainable(self, part: Component) -> set[str]:
        """Return the names of all parameters."""
        return {name for name, _ in part.named_parameters()}
