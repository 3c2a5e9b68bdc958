"""The modules of one modality, and the check of what they give.

N = media items, L = the longest of them, D = hidden size of the backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from modrwkv_core.data.feature_cache import FeatureCache
from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.component import Adapter, Component, Compressor, Encoder
from modrwkv_core.interfaces.guard import guard, length_after
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_core.model.feature_cache import encode

__all__ = ["MediaEmbedder"]


class MediaEmbedder(nn.Module):
    """Encoder, compressor and adapter of one modality: media items to vectors of the backbone's hidden size.

    What each of them gives is held against its configuration: type, dim and lengths of every batch, from the shapes
    alone. Whether the values are finite is looked at in every batch in evaluation mode, and in the first one after each
    call of :meth:`train`, hence once in a phase: on a GPU, looking waits for the device.

    Attributes:
        augmenter: Changes the features of the encoder in training; the trainer sets it.
        cache: Keeps the features of the encoder, which is frozen; the trainer sets it.
    """

    def __init__(self, encoder: Encoder[Any], compressor: Compressor[Any] | None, adapter: Adapter[Any]) -> None:
        super().__init__()
        self.encoder = encoder
        self.compressor = compressor
        self.adapter = adapter
        self.augmenter: Callable[[Features, Sequence[int | None], bool], Features] | None = None
        self.cache: FeatureCache | None = None
        self._unseen = True

    def train(self, mode: bool = True) -> MediaEmbedder:
        """Set the mode, and look at the values of the next batch."""
        self._unseen = True
        return super().train(mode)

    def forward(self, items: Sequence[MediaItem], seeds: Sequence[int | None] | None = None) -> Features:
        """Return features ``[N, L, D]``.

        Args:
            items: N items.
            seeds: Of the augmentation of their features, one for each item; None augments none.

        Raises:
            PluginError: A component failed.
            ComponentError: A component gave something else than its configuration says, or NaN or infinity.
        """
        look = self._unseen or not self.training
        encoder, compressor, adapter = self.encoder, self.compressor, self.adapter
        encode_all = partial(self._encode, look=look)
        features = encode_all(items) if self.cache is None else encode(encode_all, items, self.cache)
        lengths = [length_after(encoder.config, item.length, encoder.origin) for item in items]
        dim = encoder.config.out_dim
        if self.augmenter is not None and seeds is not None:
            features = self.augmenter(features, seeds, look)
        if compressor is not None:
            features = features.with_grids(lengths)
            lengths = [length_after(compressor.config, length, compressor.origin) for length in lengths]
            with guard(compressor.origin, "forward()"):
                features = compressor(features)
            dim = compressor.config.out_dim(dim)
            _check("compressor", compressor, features, lengths, dim, look)
        features = features.with_grids(lengths)
        lengths = [length_after(adapter.config, length, adapter.origin) for length in lengths]
        with guard(adapter.origin, "forward()"):
            features = adapter(features)
        _check("adapter", adapter, features, lengths, adapter.out_dim, look)
        self._unseen = False
        adapted: Features = features
        return adapted

    def _encode(self, items: Sequence[MediaItem], look: bool) -> Features:
        encoder = self.encoder
        lengths = [length_after(encoder.config, item.length, encoder.origin) for item in items]
        with guard(encoder.origin, "forward()"):
            features: Features = encoder(items)
        _check("encoder", encoder, features, lengths, encoder.config.out_dim, look)
        return features


def _check(kind: str, component: Component, features: object, lengths: list[int], dim: int, look: bool) -> None:
    complaint = _complaint(features, lengths, dim, look)
    if complaint is None:
        return
    origin = component.origin
    raise ComponentError(
        complaint,
        component=origin.component if origin else f"{kind}/{component.config.type}",
        distribution=origin.distribution if origin else None,
        hint="`modrwkv plugins check` tests the component against the whole contract",
    )


def _complaint(features: object, lengths: list[int], dim: int, look: bool) -> str | None:
    if not isinstance(features, Features) or not isinstance(features.values, Tensor):
        return f"forward() returned {type(features).__name__}, it must return Features"
    values = features.values
    if values.dim() != 3 or values.shape[0] != len(lengths) or values.shape[2] != dim:
        return f"forward() gave values {list(values.shape)}, its configuration says [{len(lengths)}, longest, {dim}]"
    given = features.lengths
    if not isinstance(given, Tensor) or given.device.type != "cpu" or given.dtype != torch.int64:
        return "forward() gave lengths that are not an int64 tensor on the CPU"
    if given.tolist() != lengths:
        return f"forward() gave lengths {given.tolist()}, out_length() says {lengths}"
    if max(lengths, default=0) > values.shape[1]:
        return f"forward() gave values for {values.shape[1]} vectors an item, but lengths {lengths}"
    if look and not bool(torch.isfinite(features.packed()).all()):
        return "forward() gave features that are not finite: they hold NaN or infinity"
    return None
