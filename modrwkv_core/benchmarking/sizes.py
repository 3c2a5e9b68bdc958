"""The models that benchmarks are made of: ours and its rivals', of equal size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config
from modrwkv_core.errors import ModRWKVError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ModelSize", "random_model"]

HEAD_SIZE = 64


@dataclass(frozen=True, slots=True)
class ModelSize:
    """Sizes of a trunk; all others follow the official recipe.

    Attributes:
        layers: Blocks.
        width: Of the residual stream.
        vocab: Rows of the embedding.
    """

    num_layers: int
    hidden_size: int
    vocab: int

    @classmethod
    def parse(cls, text: str, vocab: int) -> ModelSize:
        """Read ``12x768``.

        Raises:
            ModRWKVError: It is not of this form, or the width is not made of heads of 64.
        """
        layers, _, width = text.partition("x")
        if not (layers.isdecimal() and width.isdecimal() and int(layers) and int(width)) or int(width) % HEAD_SIZE:
            raise ModRWKVError(f"the size {text!r} is not LAYERSxWIDTH", hint="for example 12x768; heads are 64 wide")
        return cls(int(layers), int(width), vocab)

    def config(self) -> RWKV7Config:
        """The trunk's configuration."""
        return RWKV7Config(num_layers=self.num_layers, hidden_size=self.hidden_size)

    def block_parameters(self) -> int:
        """Parameters of all blocks."""
        with torch.device("meta"):
            model = RWKV7(self.config(), 1)
        return sum(parameter.numel() for parameter in model.blocks.parameters())

    def step_weights(self) -> int:
        """Weights that one token needs: all but the embedding."""
        return self.block_parameters() + self.vocab * self.hidden_size

    def llama_config(self) -> Any:
        """A Llama of transformers with as many parameters: the feed-forward takes what attention leaves.

        In multiples of 64: on GPUs the products of odd widths take several times as long.
        """
        from transformers import LlamaConfig

        of_block = self.block_parameters() // self.num_layers
        settings: dict[str, Any] = {
            "vocab_size": self.vocab,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.hidden_size // HEAD_SIZE,
            "num_key_value_heads": self.hidden_size // HEAD_SIZE,
            "intermediate_size": 64 * round((of_block - 4 * self.hidden_size**2) / (3 * self.hidden_size * 64)),
            "max_position_embeddings": 2**20,
            "attn_implementation": "sdpa",
        }
        return LlamaConfig(**settings)


def random_model(size: ModelSize, path: Path) -> RWKV7:
    """A trunk of random bfloat16 weights, written to ``path`` (``.pth``), so that rivals read the same."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in RWKV7(size.config(), size.vocab).state_dict().items()}
    generator = torch.Generator().manual_seed(0)

    def filled(name: str, shape: torch.Size) -> torch.Tensor:
        noise = torch.randn(shape, generator=generator) * (shape[-1] ** -0.5 if len(shape) == 2 else 0.1)
        is_norm = name.endswith(("ln0.weight", "ln1.weight", "ln2.weight", "ln_x.weight", "ln_out.weight"))
        return (noise + is_norm).bfloat16()

    torch.save({name: filled(name, shape) for name, shape in shapes.items()}, path)
    return RWKV7.from_checkpoint(path)
