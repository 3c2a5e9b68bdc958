"""What a manifest may say about an RWKV-7 trunk. Never imports torch, except to look into a ``.pth`` file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal, Self

from pydantic import Field, model_validator

from modrwkv_core.backbones.rwkv7.header import read_shapes
from modrwkv_core.backbones.rwkv7.sizes import RWKV7Sizes, lora_rank
from modrwkv_core.errors import CheckpointError, ComponentError
from modrwkv_core.interfaces.config import BackboneConfig, ManifestPath

__all__ = ["RWKV7Config"]

_COMPONENT = "backbone/rwkv7"


class RWKV7Config(BackboneConfig):
    """RWKV-7, from official weights or from scratch.

    With ``weights`` all sizes are read from the file's tensors; from scratch ``layers`` and ``width`` are needed, and
    the other sizes have the defaults of the official training code.
    """

    type: Literal["rwkv7"] = "rwkv7"

    weights: ManifestPath | None = None
    """Official weights, ``.pth`` or ``.safetensors``; none to start from scratch."""

    layers: int | None = Field(default=None, ge=1)
    """Number of blocks."""

    width: int | None = Field(default=None, ge=2)
    """Width of the trunk, a multiple of ``head_size``."""

    ffn: int | None = Field(default=None, ge=1)
    """Hidden width of channel mixing; 4 times ``width`` by default."""

    head_size: int | None = Field(default=None, ge=2)
    """Width of one head; 64 by default."""

    decay_rank: int | None = Field(default=None, ge=1)
    """Rank of the map to the decay; by default 2.5 sqrt(width), to a multiple of 32."""

    rate_rank: int | None = Field(default=None, ge=1)
    """Rank of the map to the in-context learning rate; by default 2.5 sqrt(width), to a multiple of 32."""

    value_rank: int | None = Field(default=None, ge=1)
    """Rank of the map to the value residual's gate; by default 1.7 sqrt(width), to a multiple of 32."""

    gate_rank: int | None = Field(default=None, ge=1)
    """Rank of the map to the output gate; by default 5 sqrt(width), to a multiple of 32."""

    vocab: int | None = Field(default=None, ge=1)
    """Rows of the embedding; from scratch the tokenizer decides by default."""

    kernel: str = "auto"
    """Backend of the WKV-7 recurrence: ``auto`` or a name that ``modrwkv doctor`` lists."""

    recompute: Literal["none", "cheap", "all"] = "none"
    """What training computes twice to save memory: nothing; what lies between the matrix products, which on a GPU takes
    40 % of the memory for 7 % of the time; or everything, which keeps the inputs of the blocks only."""

    @model_validator(mode="after")
    def _has_sizes(self) -> Self:
        if self.weights is None and (self.layers is None or self.width is None):
            raise ValueError("give `weights`, or `layers` and `width` to start from scratch")
        if self.width is not None and self.width % (self.head_size or 64):
            raise ValueError(f"width {self.width} is not a multiple of head_size {self.head_size or 64}")
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
            found = RWKV7Sizes.of_shapes(read_shapes(self.weights))
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
        assert self.layers is not None
        assert self.width is not None
        return RWKV7Sizes(
            vocab=self.vocab,
            layers=self.layers,
            width=self.width,
            ffn=self.ffn or 4 * self.width,
            head_size=self.head_size or 64,
            decay_rank=self.decay_rank or lora_rank(self.width, 2.5),
            rate_rank=self.rate_rank or lora_rank(self.width, 2.5),
            value_rank=self.value_rank or lora_rank(self.width, 1.7),
            gate_rank=self.gate_rank or lora_rank(self.width, 5.0),
        )

    def resolved(self) -> Self:
        """Return a copy with all sizes filled in, which rebuilds where the weights file is absent."""
        return self.model_copy(update=asdict(self.sizes()))

    @property
    def in_dim(self) -> int:
        """Width of the trunk."""
        return self.sizes().width

    @property
    def vocab_rows(self) -> int | None:
        """Rows of the embedding if the weights or the configuration fix them; None if the tokenizer decides."""
        return self.sizes().vocab
