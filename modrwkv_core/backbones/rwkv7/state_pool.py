"""A pool of states that decoding updates in place: sequences take slots and give them back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from modrwkv_core.backbones.rwkv7.state import RWKV7State

__all__ = ["StatePool"]


class StatePool:
    """Slots with the state of one sequence each. A full pool doubles.

    Args:
        states: What the slots hold at first; its tensors become the pool's.

    Attributes:
        states: The slots as the rows of one state.
    """

    def __init__(self, states: RWKV7State) -> None:
        self.states = states
        self._free = list(range(states.batch_size))

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Matrices and both shift vectors of all slots, which move when the pool grows."""
        return self.states.matrix, self.states.time_shift, self.states.channel_shift

    def take(self, count: int) -> list[int]:
        """Return free slots, whose contents do not matter."""
        while len(self._free) < count:
            slots = self.states.batch_size
            self.states = RWKV7State.stack([self.states, self.states])
            self._free += range(slots, 2 * slots)
        return [self._free.pop() for _ in range(count)]

    def put(self, state: RWKV7State) -> list[int]:
        """Copy the sequences of ``state`` into free slots and return these."""
        slots = self.take(state.batch_size)
        index = torch.tensor(slots, dtype=torch.int64, device=self.states.matrix.device)
        given = (state.matrix, state.time_shift, state.channel_shift)
        for pool, tensor in zip(self.tensors, given, strict=True):
            pool.index_copy_(1, index, tensor.detach().to(pool))
        return slots

    def give_back(self, slots: Sequence[int]) -> None:
        """Free slots."""
        self._free += slots
