"""Where packed sequences lie, in every form that kernels read: made once per batch, used by every layer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

__all__ = ["CuSeqlens"]


@dataclass(frozen=True, slots=True, eq=False)
class CuSeqlens:
    """Cumulative lengths of sequences that are packed one after another into a batch of one.

    Make it on the host with :meth:`of` and move it with :meth:`to`, once per batch. Nothing that uses it copies from a
    device to the host.

    Attributes:
        host: `[sequences + 1]`, int64, in CPU memory: where each sequence starts, from 0, and the end of the last. None
            where only the device knows it.
        device: The same on the device of the tokens, as the following ones.
        first: `[sequences]`, int64: index of the first token of each sequence.
        last: `[sequences]`, int64: index of the last token of each sequence.
        sequence_starts: `[tokens]`, int32: the sequence that starts at each token, or -1.
    """

    host: Tensor | None
    device: Tensor
    first: Tensor
    last: Tensor
    sequence_starts: Tensor

    @classmethod
    def of(cls, offsets: Sequence[int] | Tensor) -> Self:
        """Make it from cumulative lengths in CPU memory.

        Args:
            offsets: `[sequences + 1]`: 0, then the end of each sequence. Sequences may be empty for the recurrence.

        Raises:
            ValueError: They are not integers in CPU memory, do not start at 0, or decrease.
        """
        if isinstance(offsets, Tensor):
            if offsets.device.type != "cpu" or offsets.dim() != 1 or offsets.dtype not in (torch.int32, torch.int64):
                raise ValueError(
                    "cu_seqlens must be int32 or int64 [sequences + 1] in CPU memory, not "
                    f"{offsets.dtype} {list(offsets.shape)} on {offsets.device}"
                )
            offsets = offsets.tolist()
        values = list(offsets)
        if not values or values[0] != 0:
            raise ValueError(f"cu_seqlens must start at 0, but is {values}")
        for index, (start, end) in enumerate(itertools.pairwise(values), start=1):
            if end < start:
                raise ValueError(f"cu_seqlens must not decrease, but cu_seqlens[{index}] = {end} follows {start}")
        host = torch.tensor(values, dtype=torch.int64)
        return cls(host, *_forms(host, values[-1]))

    @classmethod
    def on_device(cls, offsets: Tensor, tokens: int) -> Self:
        """Make it from cumulative lengths that a device alone knows, as in a CUDA graph that is replayed for others.

        Only the Triton kernels can use it.

        Args:
            offsets: `[sequences + 1]`, int64: 0, then the end of each sequence, none of which is empty.
            tokens: Of all sequences together.
        """
        return cls(None, *_forms(offsets, tokens))

    @property
    def sequences(self) -> int:
        """Number of sequences."""
        return self.first.shape[0]

    @property
    def tokens(self) -> int:
        """Number of tokens of all sequences together."""
        return self.sequence_starts.shape[0]

    @property
    def lengths(self) -> list[int]:
        """Number of tokens of each sequence."""
        offsets: list[int] = self.on_host().tolist()
        return [end - start for start, end in itertools.pairwise(offsets)]

    def on_host(self) -> Tensor:
        """The cumulative lengths in CPU memory.

        Raises:
            ValueError: Only the device knows them.
        """
        if self.host is None:
            raise ValueError("cu_seqlens made with CuSeqlens.on_device serve the Triton kernels only")
        return self.host

    def to(self, device: torch.device | str) -> Self:
        """The same for tokens on `device`."""
        forms = (self.device, self.first, self.last, self.sequence_starts)
        return type(self)(self.host, *(x.to(device, non_blocking=True) for x in forms))


def _forms(offsets: Tensor, tokens: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    first = offsets[:-1]
    starts = torch.full((tokens + 1,), -1, dtype=torch.int32, device=offsets.device)
    # An empty sequence at the end starts after the last token.
    starts[first] = torch.arange(first.shape[0], dtype=torch.int32, device=offsets.device)
    return offsets, first, offsets[1:] - 1, starts[:tokens]
