"""Encoding through the cache of features, and what its entries are keyed by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from modrwkv_core.data.feature_cache import CacheableItem, FeatureCache, cached_features
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_core.manifest.schema import ModalityConfig

__all__ = ["cache_key", "encode"]


def cache_key(
    section: ModalityConfig, encoder: nn.Module, lock: Mapping[str, Any], *, precision: str, device: torch.device
) -> str:
    """Return what the features of ``encoder`` depend on beside the medium. In shards, all processes call this together.

    Args:
        section: The modality's section of the manifest.
        encoder: Its encoder as it is now.
        lock: The run's, whose versions of components and packages count.
        precision: Arithmetic of the forward pass.
        device: Where it is computed.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        plain = whole.detach().cpu().contiguous()
        digest.update(f"{name}|{plain.dtype}|{tuple(plain.shape)}|".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return json.dumps(
        {
            "encoder": section.encoder.model_dump(mode="json"),
            "weights": digest.hexdigest(),
            "versions": [lock["components"], lock["packages"]],
            "precision": precision,
            "device": device.type,
        },
        sort_keys=True,
    )


def encode(
    encode_all: Callable[[Sequence[MediaItem]], Features], items: Sequence[MediaItem], cache: FeatureCache
) -> Features:
    """Return the features of N items: those of the cache, and the others, which are kept in it.

    Args:
        encode_all: Encodes items.
        items: N items.
        cache: The encoder's.
    """
    known = [cached_features(item) for item in items]
    missing = [item for item, features in zip(items, known, strict=True) if features is None]
    encoded = encode_all(missing) if missing else None
    rows = [] if encoded is None else _rows(encoded)
    for item, row in zip(missing, rows, strict=True):
        if isinstance(item, CacheableItem):
            cache.write(item, row.detach().cpu())
    if encoded is not None and len(missing) == len(items):
        return encoded
    fresh = iter(rows)
    return _joined([next(fresh) if features is None else features for features in known])


def _rows(features: Features) -> list[Tensor]:
    return [row[:length] for row, length in zip(features.values, features.lengths.tolist(), strict=True)]


def _joined(rows: Sequence[Tensor]) -> Features:
    return Features(nn.utils.rnn.pad_sequence(list(rows), batch_first=True), torch.tensor([len(row) for row in rows]))
