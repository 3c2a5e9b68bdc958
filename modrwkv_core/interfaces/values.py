"""The values that flow from a processor to the backbone.

N = media items in a batch, L = the longest of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from modrwkv_core.interfaces.grids import Grid, grids_of

__all__ = ["Features", "MediaItem"]


@dataclass(frozen=True, slots=True)
class MediaItem:
    """One signal as tensors, ready for its encoder.

    Attributes:
        tensors: Name to tensor, without a batch dimension; whatever the encoder needs. They travel from a loader worker
            to the device, so keep them small: 8-bit pixels stay uint8, and the encoder normalizes them with
            :func:`~modrwkv_core.interfaces.pixels.normalize_pixels`.
        length: The signal's size in the unit that ``EncoderConfig.out_length`` takes (patches, samples, points, ...). A
            :class:`~modrwkv_core.interfaces.grids.GridLength` if only the signal tells the rows and columns of its
            features.
    """

    tensors: Mapping[str, Tensor]
    length: int

    def to(self, device: torch.device | str) -> MediaItem:
        """Return the item with its tensors on ``device``."""
        return self.map(lambda tensor: tensor.to(device))

    def map(self, function: Callable[[Tensor], Tensor]) -> MediaItem:
        """Return the item with ``function`` applied to each tensor."""
        return MediaItem({name: function(tensor) for name, tensor in self.tensors.items()}, self.length)


@dataclass(frozen=True, slots=True)
class Features:
    """Feature vectors of a batch of items, right-padded.

    Padding never leaks into valid positions: an item's features do not depend on its neighbours in the batch.

    Attributes:
        values: ``[N, L, dim]``; positions at and after an item's length hold zeros.
        lengths: ``[N]``, int64, on the CPU: the number of valid vectors of each item.
        grids: Of each item, the grids that its vectors form, one after the other, each row by row; None for an item
            without. Components may leave them out: the core takes them from the lengths of their configurations.
    """

    values: Tensor
    lengths: Tensor
    grids: Sequence[tuple[Grid, ...] | None] | None = None

    def with_grids(self, lengths: Sequence[int]) -> Features:
        """Return the features with the grids of ``lengths``, those of ``out_length`` for each item."""
        return replace(self, grids=[grids_of(length) for length in lengths])

    def packed(self) -> Tensor:
        """Return the valid vectors of all items, one after the other: ``[sum of lengths, dim]``."""
        longest = self.values.shape[1]
        lengths: list[int] = self.lengths.tolist()
        if all(length == longest for length in lengths):
            return self.values.flatten(0, 1)
        # Made on the host, which knows the lengths: a mask would make it wait for the device.
        rows = [torch.arange(item * longest, item * longest + length) for item, length in enumerate(lengths)]
        index = torch.cat(rows).to(self.values.device, non_blocking=True)
        return self.values.flatten(0, 1)[index]

    def mask(self) -> Tensor:
        """Return ``[N, L]``, true at valid positions."""
        positions = torch.arange(self.values.shape[1], device=self.values.device)
        return positions[None, :] < self.lengths.to(self.values.device, non_blocking=True)[:, None]

    def with_values(self, values: Tensor) -> Features:
        """Return features of equal lengths whose ``values`` are replaced; padding is set to zero again."""
        if bool((self.lengths == self.values.shape[1]).all()):
            return replace(self, values=values)
        padded = ~self.mask()
        return replace(self, values=values.masked_fill(padded[..., None], 0.0))
