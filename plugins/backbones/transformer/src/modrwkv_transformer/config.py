"""What a manifest may say about ``transformer``."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.interfaces.config import BackboneConfig
from modrwkv_core.interfaces.pretrained_config import PretrainedConfig, from_checkpoint
from modrwkv_transformer.pretrained import CONFIG_FILES, KNOWN_CHECKPOINTS, ROPE_TYPES

__all__ = ["TransformerConfig"]


class TransformerConfig(PretrainedConfig, BackboneConfig):
    """A causal language model of the transformers library: Llama, Qwen 2 (and 2.5) or Qwen 3.

    Give ``checkpoint`` for pretrained weights, or ``init: scratch``. Sizes that are not given are read from the
    checkpoint, or from scratch are those of ``Qwen/Qwen2.5-0.5B``. A valid configuration holds all of them, so a run no
    longer needs the checkpoint.

    Sources: Touvron et al., Llama 2, arXiv 2307.09288; Qwen2.5, arXiv 2412.15115; Qwen3, arXiv 2505.09388.
    """

    type: Literal["transformer"] = "transformer"

    default_checkpoint: ClassVar = "Qwen/Qwen2.5-0.5B"
    known_checkpoints: ClassVar = KNOWN_CHECKPOINTS
    config_files: ClassVar = CONFIG_FILES
    tokenizer_fields: ClassVar = frozenset({"vocab"})

    architecture: Literal["llama", "qwen2", "qwen3"] = from_checkpoint()
    """The class of the transformers library, by its ``model_type``."""

    hidden_size: int = from_checkpoint(gt=0)
    """Hidden size of the backbone."""

    num_layers: int = from_checkpoint(gt=0)
    """Number of layers."""

    num_heads: int = from_checkpoint(gt=0)
    """Attention heads of the queries."""

    num_key_value_heads: int = from_checkpoint(gt=0)
    """Attention heads of keys and values, which divide ``num_heads`` (grouped-query attention)."""

    head_dim: int = from_checkpoint(gt=0, multiple_of=2)
    """Width of one head."""

    intermediate_size: int = from_checkpoint(gt=0)
    """Dimension of the hidden layer of each MLP."""

    rope_theta: float = from_checkpoint(gt=0.0, allow_inf_nan=False)
    """Base of the rotary positions."""

    rope_scaling: dict[str, int | float | str] = from_checkpoint()
    """How rotary positions are stretched for long sequences, as ``rope_parameters`` of the transformers library say it:
    ``rope_type`` ``linear`` or ``llama3`` and its values; empty for none."""

    rms_norm_eps: float = from_checkpoint(gt=0.0, allow_inf_nan=False)
    """Added to the mean square in each RMSNorm."""

    tie_embeddings: bool = from_checkpoint()
    """Whether the output projection is the embedding."""

    vocab: int | None = Field(default=None, ge=1)
    """Rows of the embedding; from scratch the tokenizer decides by default."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.num_heads % self.num_key_value_heads:
            raise ValueError(f"{self.num_key_value_heads} key-value heads do not divide the {self.num_heads} heads")
        if self.architecture == "llama" and self.hidden_size % self.num_heads:
            raise ValueError(f"{self.num_heads} heads do not divide the hidden_size {self.hidden_size}")
        kind = self.rope_scaling.get("rope_type", "default")
        if kind not in ROPE_TYPES:
            raise ValueError(f"rope_scaling has the rope_type {kind!r}, not one of {', '.join(ROPE_TYPES)}")
        return self

    @property
    def in_dim(self) -> int:
        """Hidden size of the backbone."""
        return self.hidden_size

    @property
    def fixed_vocab_size(self) -> int | None:
        """Rows of the embedding if the checkpoint or the configuration fix them; None if the tokenizer decides."""
        return self.vocab
