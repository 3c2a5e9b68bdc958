"""Weights on disk: one safetensors file for each part of a model, whole or not at all.

A part that has not changed since an earlier checkpoint is linked instead of written again, so that every checkpoint is
complete and a frozen encoder costs its space once.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from torch import nn

from modrwkv_core.errors import CheckpointError
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.tensors import check_finite, load_state_dict, read_tensors, write_tensors

__all__ = ["load_part", "load_parts", "save_parts"]


def save_parts(
    model: MultimodalModel, folder: Path, *, frozen_parts: Collection[str] = (), previous: Path | None = None
) -> None:
    """Write every part of ``model`` that has weights to ``folder/<part>.safetensors``.

    Args:
        model: What to save.
        folder: Exists; the caller makes the whole folder appear at once.
        frozen_parts: Parts that are equal to those of ``previous``.
        previous: An earlier checkpoint's folder to link unchanged parts from.
    """
    for name, part in model.parts().items():
        tensors = part.state_dict()
        if not tensors:
            continue
        path = folder / f"{name}.safetensors"
        earlier = previous / path.name if previous is not None and name in frozen_parts else None
        if earlier is not None and earlier.is_file():
            os.link(earlier, path)
        else:
            write_tensors(tensors, path)


def load_part(part: nn.Module, path: Path, name: str) -> None:
    """Fill ``part`` from ``path``, refusing missing, unexpected, wrongly shaped and not finite tensors by name.

    Raises:
        CheckpointError: The file does not fit; ``part`` is unchanged then.
    """
    tensors = read_tensors(path)
    check_finite(tensors, path, component=name)
    hint = "the checkpoint was made with another manifest; use the manifest.yaml beside it"
    load_state_dict(part, tensors, path, component=name, hint=hint)


def load_parts(model: MultimodalModel, folder: Path) -> None:
    """Fill all parts of ``model`` from a checkpoint's folder.

    Raises:
        CheckpointError: A file is missing, damaged, or of another manifest.
    """
    parts = {name: part for name, part in model.parts().items() if part.state_dict()}
    extra = {path.name.removesuffix(".safetensors") for path in folder.glob("*.safetensors")} - parts.keys()
    extra -= {"optimizer"}
    if extra:
        raise CheckpointError(
            f"{folder} holds parts that the manifest does not name: {', '.join(sorted(extra))}",
            hint="the checkpoint was made with another manifest; use the manifest.yaml beside it",
        )
    for name, part in parts.items():
        load_part(part, folder / f"{name}.safetensors", name)
