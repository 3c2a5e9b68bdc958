"""What a Transformer remembers: keys and values of every token that it has read.

H = key-value heads, L = tokens read, C = head dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from modrwkv_core.interfaces.state import State

__all__ = ["KeyValueState", "Layers"]

Layers = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of each layer, ``[batch, H, L, C]``."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyValueState(State):
    """The key-value cache of one or more sequences, which may differ in length.

    Its size grows with what was read. Nothing writes into a tensor once it is in a state, so forks share theirs.

    Attributes:
        sequences: Of each sequence the keys and values of each layer, ``[1, H, L, C]``.
    """

    constant_size: ClassVar = False
    content: ClassVar = "key-value cache"

    sequences: tuple[Layers, ...]

    @classmethod
    def split(cls, layers: Layers, lengths: Sequence[int]) -> Self:
        """Make a state of a batch whose sequences end together.

        Args:
            layers: ``[batch, H, L, C]``: keys and values, those of shorter sequences at the end.
            lengths: Tokens of each sequence.
        """
        longest = layers[0][0].shape[2]
        return cls(
            tuple(
                tuple((keys[row : row + 1, :, begin:], values[row : row + 1, :, begin:]) for keys, values in layers)
                for row, begin in enumerate(longest - length for length in lengths)
            )
        )

    @classmethod
    def split_packed(cls, layers: Layers, lengths: Sequence[int]) -> Self:
        """Make a state of packed sequences: ``layers`` are ``[1, H, tokens, C]``, ``lengths`` add up to the tokens."""
        parts = [
            zip(torch.split(keys, list(lengths), dim=2), torch.split(values, list(lengths), dim=2), strict=True)
            for keys, values in layers
        ]
        return cls(tuple(zip(*parts, strict=True)))

    def joined(self) -> Layers:
        """Return one batch ``[batch, H, longest, C]`` in which all sequences end together, with zeros before them."""
        if self.batch_size == 1:
            return self.sequences[0]
        longest = max(self.lengths)
        return tuple(
            (_joined([keys for keys, _ in layer], longest), _joined([values for _, values in layer], longest))
            for layer in zip(*self.sequences, strict=True)
        )

    @property
    def lengths(self) -> list[int]:
        """Tokens that each sequence has read."""
        return [layers[0][0].shape[2] for layers in self.sequences]

    @property
    def batch_size(self) -> int:
        """Number of sequences."""
        return len(self.sequences)

    def fork(self, copies: int = 1) -> Self:
        """Return a state in which every sequence stands ``copies`` times in succession."""
        return type(self)(tuple(sequence for sequence in self.sequences for _ in range(copies)))

    @classmethod
    def stack(cls, states: Sequence[Self]) -> Self:
        """Return one state with the sequences of all ``states``."""
        return cls(tuple(sequence for state in states for sequence in state.sequences))

    def select(self, indices: Sequence[int]) -> Self:
        """Return a state of these sequences, in this order."""
        return type(self)(tuple(self.sequences[index] for index in indices))

    def to(self, device: torch.device | str) -> Self:
        """Return the state on ``device``."""
        return type(self)(
            tuple(
                tuple((keys.to(device), values.to(device)) for keys, values in sequence) for sequence in self.sequences
            )
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return keys and values of each sequence, ``[layers, H, L, C]``."""
        tensors = {}
        for index, sequence in enumerate(self.sequences):
            tensors[f"{index}.keys"] = torch.cat([keys for keys, _ in sequence])
            tensors[f"{index}.values"] = torch.cat([values for _, values in sequence])
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Return the state of these tensors.

        Raises:
            ValueError: They are not those of a state.
        """
        count = len(tensors) // 2
        if not count or tensors.keys() != {f"{index}.{kind}" for index in range(count) for kind in ("keys", "values")}:
            raise ValueError(f"it holds {', '.join(sorted(tensors))}")
        sequences = []
        for index in range(count):
            keys, values = tensors[f"{index}.keys"], tensors[f"{index}.values"]
            if keys.shape != values.shape or keys.dim() != 4:
                raise ValueError(f"{index}.keys and {index}.values do not fit each other")
            sequences.append(tuple(zip(torch.split(keys, 1), torch.split(values, 1), strict=True)))
        return cls(tuple(sequences))


def _joined(tensors: Sequence[Tensor], longest: int) -> Tensor:
    return torch.cat([F.pad(tensor, (0, 0, longest - tensor.shape[2], 0)) for tensor in tensors])
