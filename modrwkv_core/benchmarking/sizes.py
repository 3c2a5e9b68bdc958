"""The models that benchmarks measure: ours and baselines of equal size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config
from modrwkv_core.errors import ModRWKVError

__all__ = ["HEAD_SIZE", "ModelSize"]

HEAD_SIZE = 64


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Sizes of a backbone; all others follow the official recipe.

    Attributes:
        num_layers: Number of blocks.
        hidden_size: Width of the residual stream.
        vocab_size: Rows of the embedding.
    """

    num_layers: int
    hidden_size: int
    vocab_size: int

    @classmethod
    def parse(cls, text: str, vocab_size: int) -> ModelSize:
        """Parse ``12x768``.

        Raises:
            ModRWKVError: The text has another form, or the hidden size is no multiple of the head size 64.
        """
        layers, _, hidden = text.partition("x")
        if not (layers.isdecimal() and hidden.isdecimal() and int(layers) and int(hidden)) or int(hidden) % HEAD_SIZE:
            raise ModRWKVError(
                f"the size {text!r} is not LAYERSxHIDDEN_SIZE with a multiple of {HEAD_SIZE} behind the x",
                hint=f"for example 12x768: heads have {HEAD_SIZE} channels",
            )
        return cls(int(layers), int(hidden), vocab_size)

    def __str__(self) -> str:
        return f"{self.num_layers}x{self.hidden_size}, {self.vocab_size:,} words"

    def config(self, **settings: Any) -> RWKV7Config:
        """Return the backbone's configuration; ``settings`` are further fields of it."""
        return RWKV7Config(num_layers=self.num_layers, hidden_size=self.hidden_size, **settings)

    def block_parameters(self) -> int:
        """Return the number of parameters of all blocks."""
        with torch.device("meta"):
            model = RWKV7(self.config(), 1)
        return sum(parameter.numel() for parameter in model.blocks.parameters())

    def step_weights(self) -> int:
        """Return the number of weights that one token needs: all but the embedding."""
        return self.block_parameters() + self.vocab_size * self.hidden_size

    def llama_intermediate_size(self) -> int:
        """Return the inner dimension of the feed-forward with which a Llama has as many parameters.

        It gets what attention leaves, in multiples of 64: on GPUs, products of odd widths take several times as long.
        """
        of_block = self.block_parameters() // self.num_layers
        return 64 * round((of_block - 4 * self.hidden_size**2) / (3 * self.hidden_size * 64))

    def llama_config(self) -> Any:
        """Return the configuration of a Llama (transformers) with as many parameters."""
        from transformers import LlamaConfig

        settings: dict[str, Any] = {
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.hidden_size // HEAD_SIZE,
            "num_key_value_heads": self.hidden_size // HEAD_SIZE,
            "intermediate_size": self.llama_intermediate_size(),
            "max_position_embeddings": 2**20,
            "attn_implementation": "sdpa",
        }
        return LlamaConfig(**settings)
