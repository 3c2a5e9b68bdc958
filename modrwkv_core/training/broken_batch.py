"""The batch of a step that went wrong, kept for a look."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from modrwkv_core.data.batch import Batch
from modrwkv_core.data.feature_cache import cached_features
from modrwkv_core.storage.tensors import write_tensors

__all__ = ["keep_batch"]


def keep_batch(micro_batches: Sequence[Batch | None], path: Path) -> None:
    """Write what a step learned from to a ``.safetensors`` file.

    It holds ``<part>/ids``, ``supervised``, ``labels`` and ``lengths``, and each medium as
    ``<part>/<modality>/<index>/<tensor>``; the header names the conversations in the same order.

    Raises:
        WriteError: It cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    keys: list[list[str]] = []
    for part, batch in enumerate(micro_batches):
        if batch is None:
            continue
        keys.append(list(batch.keys))
        tensors |= {
            f"{part}/ids": batch.ids[0],
            f"{part}/supervised": batch.supervised,
            f"{part}/labels": batch.labels,
            f"{part}/lengths": batch.ids.new_tensor(batch.cu_seqlens.lengths),
        }
        for index, placed in enumerate(batch.media):
            for name, tensor in placed.item.tensors.items():
                tensors[f"{part}/{placed.modality}/{index}/{name}"] = tensor
            if (features := cached_features(placed.item)) is not None:
                tensors[f"{part}/{placed.modality}/{index}/features"] = features
    write_tensors({name: tensor.clone() for name, tensor in tensors.items()}, path, {"conversations": json.dumps(keys)})
