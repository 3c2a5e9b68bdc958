"""Weights on disk: one safetensors file for each part of a model, whole or not at all.

A part that has not changed since an earlier checkpoint is linked instead of written again, so that every checkpoint is
complete and a frozen encoder costs its space once.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modrwkv_core.errors import CheckpointError
from modrwkv_core.model.multimodal import MultimodalModel

__all__ = ["load_part", "load_parts", "read_tensors", "save_parts", "write_tensors"]


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write ``tensors`` to ``path`` and wait until they are on the disk."""
    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        CheckpointError: It is missing or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist", hint="the checkpoint is incomplete; use another one")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}", hint="use another checkpoint of the run") from error


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
            write_tensors(path, tensors)


def load_part(part: nn.Module, path: Path, name: str) -> None:
    """Fill ``part`` from ``path``, refusing missing, unexpected and wrongly shaped tensors by name.

    Raises:
        CheckpointError: The file does not fit; ``part`` is unchanged then.
    """
    tensors = read_tensors(path)
    expected = part.state_dict()
    problems = [f"missing {key}" for key in expected.keys() - tensors.keys()]
    problems += [f"unexpected {key}" for key in tensors.keys() - expected.keys()]
    problems += [
        f"{key} is {list(tensors[key].shape)} instead of {list(expected[key].shape)}"
        for key in expected.keys() & tensors.keys()
        if tensors[key].shape != expected[key].shape
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise CheckpointError(
            f"{path} does not fit the manifest: {shown}",
            component=name,
            hint="the checkpoint was made with another manifest; use the manifest.yaml beside it",
        )
    with torch.no_grad():
        part.load_state_dict(tensors)


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
