"""Which tensors of a SigLIP checkpoint its vision tower has."""

from __future__ import annotations

from typing import Final

__all__ = ["PREFIXES", "UNUSED"]

PREFIXES: Final = ("vision_model.",)

UNUSED: Final = ("text_model.*", "logit_scale", "logit_bias", "head.*", "embeddings.position_ids")
"""The text tower, the pooling head, a table of indices."""
