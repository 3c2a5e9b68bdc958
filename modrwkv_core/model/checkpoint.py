"""Weights on disk: one safetensors file for each part of a model, two if its fine-tuning method leaves some alone.

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
from modrwkv_core.storage.tensors import check_finite, load_state_dict, read_tensors, tensor_names, write_tensors

__all__ = ["OPTIMIZER", "PartFiles", "check_hash", "check_names", "load_parts", "part_files", "save_parts"]

OPTIMIZER = "optimizer.safetensors"

Methods = Mapping[str, FinetuningMethod[Any]]


PartFiles = Mapping[str, Mapping[str, Mapping[str, Tensor]]]
"""By part and file, the tensors of a checkpoint."""


def part_files(model: MultimodalModel, methods: Methods) -> dict[str, dict[str, dict[str, Tensor]]]:
    """Return what a checkpoint holds: by part, the tensors of each of its files.

    Args:
        model: The parts.
        methods: The fine-tuning methods of those that have learned, which say what is saved of them.
    """
    files = {}
    for name, part in model.parts().items():
        assert isinstance(part, Component)
        files[name] = _files(name, part, methods.get(name))
    return files


def save_parts(
    parts: PartFiles,
    folder: Path,
    *,
    frozen_parts: Collection[str] = (),
    previous: Path | None = None,
) -> set[str]:
    """Write every part that has weights to ``folder/<part>.safetensors``.

    What a part's fine-tuning method never changes goes to ``folder/<part>.frozen.safetensors``.

    Args:
        parts: As :func:`part_files` gives them.
        folder: Exists; the caller makes the whole folder appear at once.
        frozen_parts: Parts that are equal to those of ``previous``.
        previous: An earlier checkpoint's folder to link unchanged parts from.

    Returns:
        The names of the files that are links to those of ``previous``.
    """
    linked = set()
    for name, files in parts.items():
        for file, tensors in files.items():
            is_frozen = name in frozen_parts or file == _frozen_file(name)
            earlier = previous / file if previous is not None and is_frozen else None
            if earlier is not None and earlier.is_file() and tensor_names(earlier) == tensors.keys():
                os.link(earlier, folder / file)
                linked.add(file)
            elif tensors:
                write_tensors(tensors, folder / file)
    return linked


def _files(name: str, part: Component, method: FinetuningMethod[Any] | None) -> dict[str, dict[str, Tensor]]:
    """Return what the files of a part hold, by their names."""
    if method is None:
        return {f"{name}.safetensors": part.state_dict()}
    with guard(method.origin, "state_dict()"):
        tensors, frozen = method.state_dict(part), method.frozen(part)
    return {
        f"{name}.safetensors": {key: tensor for key, tensor in tensors.items() if key not in frozen},
        _frozen_file(name): {key: tensor for key, tensor in tensors.items() if key in frozen},
    }


def _frozen_file(name: str) -> str:
    return f"{name}.frozen.safetensors"


def load_parts(parts: Mapping[str, Component], folder: Path, methods: Methods, hashes: Mapping[str, str]) -> None:
    """Fill parts of a model from a checkpoint's folder.

    Args:
        parts: By name, prepared.
        folder: The checkpoint.
        methods: The fine-tuning methods of the parts that have learned.
        hashes: SHA-256 of the files, by name.

    Raises:
        CheckpointError: A file is missing, damaged, changed, or of another manifest, or holds NaN or infinity.
    """
    for name, part in parts.items():
        path = folder / f"{name}.safetensors"
        if path.name not in hashes and not path.exists() and (name in methods or not part.state_dict()):
            continue  # a part without weights, maybe one that a phase lists beside others
        tensors = _read(path, hashes)
        frozen = folder / _frozen_file(name)
        if frozen.name in hashes or frozen.exists():
            tensors |= _read(frozen, hashes)
        if name in methods:
            with guard(methods[name].origin, "load_state_dict()"):
                methods[name].load_state_dict(part, tensors, path)
        else:
            hint = "the checkpoint was made with another manifest; use the manifest.yaml beside it"
            load_state_dict(part, tensors, path, component=name, hint=hint)


def check_names(names: Collection[str], folder: Path) -> None:
    """Compare the parts that a checkpoint's folder holds with those of a model.

    Raises:
        CheckpointError: It holds others.
    """
    files = {path.name for path in folder.glob("*.safetensors")} - {OPTIMIZER}
    extra = files - {file for name in names for file in (f"{name}.safetensors", _frozen_file(name))}
    if extra:
        raise CheckpointError(
            f"{folder} holds parts that the manifest does not name: {', '.join(sorted(extra))}",
            hint="the checkpoint was made with another manifest; use the manifest.yaml beside it",
        )


def _read(path: Path, hashes: Mapping[str, str]) -> dict[str, Tensor]:
    check_hash(path, hashes)
    tensors = read_tensors(path)
    check_finite(tensors, path, component=path.name.removesuffix(".safetensors"))
    return tensors


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
