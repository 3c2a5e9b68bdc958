"""The ragged list of chunks: how sequences of different length are cut into chunks that are worked on together.

Each sequence is cut into chunks of C tokens, its last chunk filled up with neutral tokens (zeros: decay 1, no key, no
value). The chunks of all sequences form one list, ordered first by their index within the sequence and then by
decreasing length of the sequence. So the chunks that the recurrence handles at one step are one slice of the list, and
the states of the sequences still running are the first rows of the sorted states: the scan needs no gathers, and
nothing is computed for steps that a short sequence does not have.

Names end in their dimensions: Z chunks, C tokens of a chunk, P tokens of all sequences, H heads, N head size.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ChunkList", "block_capacity", "chunk_capacity"]


def chunk_capacity(tokens: int, sequences: int, chunk_size: int) -> int:
    """Most chunks that `sequences` sequences of `tokens` tokens in all can need, known without their lengths."""
    return tokens // chunk_size + min(sequences, tokens)


def block_capacity(tokens: int, sequences: int, size: int, *, packed: bool) -> int:
    """How many numbers blocks of `size` tokens take up when sequence i begins at ``start // size + i``.

    Args:
        tokens: Of all sequences when packed, else of each.
        sequences: How many there are; even an empty one takes up a number.
        size: Tokens per block.
        packed: Whether the sequences' lengths differ and are not known.
    """
    if packed:
        return tokens // size + sequences
    return sequences * max((tokens + size - 1) // size, 1)


@dataclass(frozen=True)
class ChunkList:
    """Where every token lies in the list of chunks.

    Args:
        chunk_size: Tokens per chunk.
        heads: Number of heads.
        chunks: Length of the list.
        order: Sequence of each rank, longest first, int64 `[sequences]`.
        steps: The slice of the list that each step of the scan handles.
        rows: For token and head the row of the `[chunks, heads, chunk size]` list, int64 `[tokens * heads]`.
    """

    chunk_size: int
    heads: int
    chunks: int
    order: Tensor
    steps: tuple[slice, ...]
    rows: Tensor

    @classmethod
    def build(cls, lengths: list[int], heads: int, chunk_size: int, device: torch.device) -> ChunkList:
        """Lay out sequences of the given lengths that lie one after another."""
        counts = [-(-length // chunk_size) for length in lengths]
        order = sorted(range(len(lengths)), key=lambda sequence: -counts[sequence])
        starts = [0]
        for step in range(max(counts, default=0)):
            starts.append(starts[-1] + sum(count > step for count in counts))

        lengths_S = torch.tensor(lengths, dtype=torch.int64)
        order_S = torch.tensor(order, dtype=torch.int64)
        rank_S = torch.empty_like(order_S)
        rank_S[order_S] = torch.arange(len(order))
        position_P = torch.arange(sum(lengths)) - (lengths_S.cumsum(0) - lengths_S).repeat_interleave(lengths_S)
        chunk_P = torch.tensor(starts)[position_P // chunk_size] + rank_S.repeat_interleave(lengths_S)
        rows_PH = (chunk_P[:, None] * heads + torch.arange(heads)) * chunk_size + (position_P % chunk_size)[:, None]
        steps = tuple(slice(start, end) for start, end in itertools.pairwise(starts))
        return cls(chunk_size, heads, starts[-1], order_S.to(device), steps, rows_PH.flatten().to(device))

    def gather(self, x_PHN: Tensor) -> Tensor:
        """Bring tokens `[tokens, heads, size]` into the list `[chunks, heads, chunk size, size]`."""
        size = x_PHN.shape[-1]
        x_ZHCN = x_PHN.new_zeros(self.chunks, self.heads, self.chunk_size, size)
        x_ZHCN.view(-1, size).index_copy_(0, self.rows, x_PHN.reshape(-1, size))
        return x_ZHCN

    def scatter(self, x_ZHCN: Tensor, shape: torch.Size) -> Tensor:
        """Take tokens back out of the list, into a tensor of the given shape."""
        size = x_ZHCN.shape[-1]
        return x_ZHCN.reshape(-1, size).index_select(0, self.rows).view(shape)
