"""The values that flow from a processor to the backbone.

N = media items in a batch, L = the longest of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Features", "MediaItem"]


@dataclass(frozen=True, slots=True)
class MediaItem:
    """One signal as tensors, ready for its encoder.

    Attributes:
        tensors: Name to tensor, without a batch dimension; whatever the encoder needs. They travel from a loader worker
            to the device, so keep them small: 8-bit pixels stay uint8, and the encoder normalizes them with
            :func:`~modrwkv_core.interfaces.pixels.normalize_pixels`.
        length: The signal's size in the unit that ``EncoderConfig.out_length`` takes (patches, samples, points, ...).
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
    """

    values: Tensor
    lengths: Tensor

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
            return Features(values, self.lengths)
        padded = ~self.mask()
        return Features(values.masked_fill(padded[..., None], 0.0), self.lengths)
