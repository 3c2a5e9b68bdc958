"""What an RWKV-7 remembers: per layer one matrix a head and the last inputs of its two mixings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Self

import torch
from torch import Tensor

from modrwkv_core.interfaces.state import State

__all__ = ["RWKV7State"]


@dataclass(frozen=True, slots=True, eq=False)
class RWKV7State(State):
    """The state of one or more rows. Differentiable; no method writes into it.

    Attributes:
        matrix: ``[layers, rows, heads, value, key]``, float32.
        time_shift: ``[layers, rows, D]``: the last input of each layer's time mixing.
        channel_shift: ``[layers, rows, D]``: the last input of each layer's channel mixing.
    """

    content: ClassVar = "rwkv7 state"

    matrix: Tensor
    time_shift: Tensor
    channel_shift: Tensor

    @property
    def batch_size(self) -> int:
        """Number of sequences."""
        return self.matrix.shape[1]

    def fork(self, copies: int = 1) -> Self:
        """Return an independent copy in which every row stands ``copies`` times in a row."""
        assert copies >= 1
        return type(self)(*(tensor.repeat_interleave(copies, dim=1) for tensor in self._tensors()))

    @classmethod
    def stack(cls, states: Sequence[Self]) -> Self:
        """Return one state with the rows of all ``states``."""
        return cls(
            *(torch.cat(tensors, dim=1) for tensors in zip(*(state._tensors() for state in states), strict=True))
        )

    def select(self, indices: Sequence[int]) -> Self:
        """Return an independent state of these rows, in this order."""
        index = torch.tensor(indices, dtype=torch.int64, device=self.matrix.device)
        return type(self)(*(tensor.index_select(1, index) for tensor in self._tensors()))

    def to(self, device: torch.device | str) -> Self:
        """Return the state on ``device``."""
        return type(self)(*(tensor.to(device) for tensor in self._tensors()))

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Return the state of these tensors.

        Raises:
            ValueError: They are not those of a state.
        """
        if tensors.keys() != {field.name for field in fields(cls)}:
            raise ValueError(f"it holds {', '.join(sorted(tensors))}")
        return cls(**tensors)

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.matrix, self.time_shift, self.channel_shift
