"""What a manifest may say about an RWKV-7 backbone. Never imports torch, except to look into a ``.pth`` file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.backbones.rwkv7.header import official_shapes
from modrwkv_core.backbones.rwkv7.sizes import RWKV7Sizes, low_rank_dim
from modrwkv_core.errors import CheckpointError, ComponentError
from modrwkv_core.interfaces.config import BackboneConfig
from modrwkv_core.interfaces.paths import ManifestPath

__all__ = ["RWKV7Config"]

_COMPONENT = "backbone/rwkv7"


class RWKV7Config(BackboneConfig):
    """RWKV-7, from official weights or from scratch.

    With ``weights`` all sizes are read from the file's tensors. From scratch, ``num_layers`` and ``hidden_size`` are
    required; the other sizes have the defaults of the official training code.
    """

    type: Literal["rwkv7"] = "rwkv7"

    weights: ManifestPath | None = None
    """Pretrained weights: an official ``.pth`` or ``.safetensors`` file, or a folder of flash-linear-attention (in
    one file or in shards); none to start from scratch."""

    num_layers: int | None = Field(default=None, ge=1, le=1024)
    """Number of blocks."""

    hidden_size: int | None = Field(default=None, ge=2, le=2**17)
    """Hidden size of the backbone, a multiple of ``head_dim``."""

    intermediate_size: int | None = Field(default=None, ge=1)
    """Inner dimension of channel mixing; 4 times ``hidden_size`` by default."""

    head_dim: int | None = Field(default=None, ge=2)
    """Width of one head; 64 by default."""

    decay_low_rank_dim: int | None = Field(default=None, ge=1)
    """Rank of the map to the decay; by default 2.5 sqrt(hidden_size), to a multiple of 32."""

    a_low_rank_dim: int | None = Field(default=None, ge=1)
    """Rank of the map to the in-context learning rate; by default 2.5 sqrt(hidden_size), to a multiple of 32."""

    v_low_rank_dim: int | None = Field(default=None, ge=1)
    """Rank of the map to the value residual's gate; by default 1.7 sqrt(hidden_size), to a multiple of 32."""

    gate_low_rank_dim: int | None = Field(default=None, ge=1)
    """Rank of the map to the output gate; by default 5 sqrt(hidden_size), to a multiple of 32."""

    vocab: int | None = Field(default=None, ge=1)
    """Rows of the embedding; from scratch the tokenizer decides by default."""

    kernel: str = "auto"
    """Backend of the WKV-7 recurrence: ``auto`` or a name that ``modrwkv doctor`` lists."""

    activation_checkpointing: Literal["none", "selective", "full"] = "none"
    """What training computes twice to save memory: nothing; what lies between the matrix products, which on a GPU takes
    40 % of the memory for 7 % of the time; or everything, which keeps the inputs of the blocks only."""

    @model_validator(mode="after")
    def _has_sizes(self) -> Self:
        if self.weights is None and (self.num_layers is None or self.hidden_size is None):
            raise ValueError("give `weights`, or `num_layers` and `hidden_size` to start from scratch")
        if self.hidden_size is not None and self.hidden_size % (self.head_dim or 64):
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of head_dim {self.head_dim or 64}")
        return self

    def sizes(self) -> RWKV7Sizes:
        """Return all sizes: those that are given, else those of the weights, else the official defaults.

        A configuration that gives every size does not need its weights file.

        Raises:
            CheckpointError: The weights are needed and missing, damaged, or not those of an RWKV-7.
            ComponentError: A size that is given contradicts the weights.
        """
        given = {name: getattr(self, name) for name in RWKV7Sizes.__dataclass_fields__}
        if self.weights is None:
            return self._from_scratch()
        if None not in given.values() and not self.weights.exists():
            return RWKV7Sizes(**given)
        try:
            found = RWKV7Sizes.of_shapes(official_shapes(str(self.weights)))
        except CheckpointError:
            raise
        except ValueError as error:
            raise CheckpointError(
                f"{self.weights} does not hold an RWKV-7: {error}",
                component=_COMPONENT,
                hint="give an official RWKV-7 (x070) checkpoint",
            ) from error
        wrong = [
            f"{name} is {value} in the configuration but {getattr(found, name)} in the weights"
            for name, value in given.items()
            if value not in (None, getattr(found, name))
        ]
        if wrong:
            raise ComponentError(
                f"{'; '.join(wrong)} ({self.weights})",
                component=_COMPONENT,
                hint="leave the sizes out: they are read from the weights",
            )
        return found

    def _from_scratch(self) -> RWKV7Sizes:
        assert self.num_layers is not None
        assert self.hidden_size is not None
        return RWKV7Sizes(
            vocab=self.vocab,
            num_layers=self.num_layers,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size or 4 * self.hidden_size,
            head_dim=self.head_dim or 64,
            decay_low_rank_dim=self.decay_low_rank_dim or low_rank_dim(self.hidden_size, 2.5),
            a_low_rank_dim=self.a_low_rank_dim or low_rank_dim(self.hidden_size, 2.5),
            v_low_rank_dim=self.v_low_rank_dim or low_rank_dim(self.hidden_size, 1.7),
            gate_low_rank_dim=self.gate_low_rank_dim or low_rank_dim(self.hidden_size, 5.0),
        )

    def resolved(self) -> Self:
        """Return a copy with all sizes filled in, which rebuilds where the weights file is absent."""
        return self.model_copy(update=asdict(self.sizes()))

    @property
    def in_dim(self) -> int:
        """Hidden size of the backbone."""
        return self.sizes().hidden_size

    @property
    def fixed_vocab_size(self) -> int | None:
        """Rows of the embedding if the weights or the configuration fix them; None if the tokenizer decides."""
        return self.sizes().vocab
