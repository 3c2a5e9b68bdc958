"""Weights on disk: one safetensors file for each part of a model.

A part that has not changed since an earlier checkpoint is linked instead of written again, so that every checkpoint is
complete and a frozen encoder costs its space once.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.component import Component
from modrwkv_core.interfaces.finetuning import FinetuningMethod
from modrwkv_core.interfaces.guard import guard
from modrwkv_core.model.multimodal import MultimodalModel
from modrwkv_core.storage.files import sha256
from modrwkv_core.storage.tensors import check_finite, load_state_dict, read_tensors, write_tensors

__all__ = ["OPTIMIZER", "check_hash", "load_parts", "part_tensors", "save_parts"]

OPTIMIZER = "optimizer.safetensors"

Methods = Mapping[str, FinetuningMethod[Any]]


def part_tensors(model: MultimodalModel, methods: Methods) -> dict[str, dict[str, Tensor]]:
    """Return what a checkpoint holds of each part.

    Args:
        model: The parts.
        methods: The fine-tuning methods of those that have learned, which say what is saved of them.
    """
    tensors = {}
    for name, part in model.parts().items():
        assert isinstance(part, Component)
        if name in methods:
            with guard(methods[name].origin, "state_dict()"):
                tensors[name] = dict(methods[name].state_dict(part))
        else:
            tensors[name] = part.state_dict()
    return tensors


def save_parts(
    parts: Mapping[str, Mapping[str, Tensor]],
    folder: Path,
    *,
    frozen_parts: Collection[str] = (),
    previous: Path | None = None,
) -> set[str]:
    """Write every part that has weights to ``folder/<part>.safetensors``.

    Args:
        parts: As :func:`part_tensors` gives them.
        folder: Exists; the caller makes the whole folder appear at once.
        frozen_parts: Parts that are equal to those of ``previous``.
        previous: An earlier checkpoint's folder to link unchanged parts from.

    Returns:
        The names of the files that are links to those of ``previous``.
    """
    linked = set()
    for name, tensors in parts.items():
        path = folder / f"{name}.safetensors"
        earlier = previous / path.name if previous is not None and name in frozen_parts else None
        if earlier is not None and earlier.is_file():
            os.link(earlier, path)
            linked.add(path.name)
        elif tensors:
            write_tensors(tensors, path)
    return linked


def load_parts(model: MultimodalModel, folder: Path, methods: Methods, hashes: Mapping[str, str]) -> None:
    """Fill all parts of ``model`` from a checkpoint's folder.

    Args:
        model: Its parts are prepared.
        folder: The checkpoint.
        methods: The fine-tuning methods of the parts that have learned.
        hashes: SHA-256 of the files, by name.

    Raises:
        CheckpointError: A file is missing, damaged, changed, or of another manifest, or holds NaN or infinity.
    """
    parts = {name: part for name, part in model.parts().items() if name in methods or part.state_dict()}
    extra = {path.name.removesuffix(".safetensors") for path in folder.glob("*.safetensors")} - parts.keys()
    extra -= {OPTIMIZER.removesuffix(".safetensors")}
    if extra:
        raise CheckpointError(
            f"{folder} holds parts that the manifest does not name: {', '.join(sorted(extra))}",
            hint="the checkpoint was made with another manifest; use the manifest.yaml beside it",
        )
    for name, part in parts.items():
        path = folder / f"{name}.safetensors"
        if name in methods and path.name not in hashes and not path.exists():
            continue  # a part without weights that a phase lists beside others
        check_hash(path, hashes)
        tensors = read_tensors(path)
        check_finite(tensors, path, component=name)
        assert isinstance(part, Component)
        if name in methods:
            with guard(methods[name].origin, "load_state_dict()"):
                methods[name].load_state_dict(part, tensors, path)
        else:
            hint = "the checkpoint was made with another manifest; use the manifest.yaml beside it"
            load_state_dict(part, tensors, path, component=name, hint=hint)


def check_hash(path: Path, hashes: Mapping[str, str]) -> None:
    """Compare a file of a checkpoint with the hash that was written when it was saved.

    Raises:
        CheckpointError: The file is missing, damaged, or not the one that was saved.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist", hint="the checkpoint is incomplete; use another one")
    if hashes.get(path.name) != sha256(path):
        raise CheckpointError(
            f"{path} is not the file that was saved: its SHA-256 differs from that in train_state.json",
            hint="the file is damaged, or was replaced; use another checkpoint of the run",
        )
