"""Checkpoints in the official layout, as ``.pth`` or safetensors: read, write, check, load into a model."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modrwkv_core.backbones.rwkv7.files import whole_file
from modrwkv_core.errors import CheckpointError

__all__ = ["UNUSED", "check_fit", "load_into", "read_tensors", "write_tensors"]

UNUSED = frozenset({"blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2"})
"""The first layer has no value residual, yet many files hold tensors for it."""


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """Read a checkpoint, on the CPU, in the dtypes of the file; a ``.pth`` is mapped, and no code in it is run.

    Raises:
        CheckpointError: The file is missing, damaged, of another format, or holds anything but named tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}", hint="check the path; nothing is downloaded")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".pth":
            tensors = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        else:
            raise CheckpointError(f"{path} ends neither in .pth nor in .safetensors")
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}", hint="the file is damaged or incomplete; fetch it again"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise CheckpointError(f"{path} is not a mapping of names to tensors", hint="give weights alone, as published")
    return tensors


def write_tensors(tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """Write tensors, in their dtypes, to a ``.pth`` or ``.safetensors`` file, whole or not at all.

    Raises:
        CheckpointError: The suffix is another one, or writing failed.
    """
    path = Path(path)
    # Views would be saved with all of their storage, or refused.
    own = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    if path.suffix not in (".pth", ".safetensors"):
        raise CheckpointError(f"{path} ends neither in .pth nor in .safetensors")
    with whole_file(path) as temporary:
        if path.suffix == ".safetensors":
            save_file(own, temporary, metadata={"format": "pt"})
        else:
            torch.save(own, temporary)


def load_into(model: nn.Module, path: Path | str) -> None:
    """Load an official checkpoint into an RWKV-7, in the dtypes of the model.

    Parameters on the meta device come to the CPU.

    Raises:
        CheckpointError: The file cannot be read, or tensors are missing, unexpected or of another shape; nothing has
            been loaded then.
    """
    tensors = {name: tensor for name, tensor in read_tensors(path).items() if name not in UNUSED}
    own = model.state_dict()
    check_fit(tensors, own, path)
    is_meta = any(parameter.is_meta for parameter in own.values())
    if is_meta:
        tensors = {name: tensor.to(own[name].dtype, copy=True) for name, tensor in tensors.items()}
    model.load_state_dict(tensors, assign=is_meta)


def check_fit(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], source: Path | str) -> None:
    """Compare a checkpoint's names and shapes with those of an RWKV-7.

    Args:
        tensors: Those of the checkpoint, but for the unused ones.
        own: Those of the model.
        source: Where the checkpoint comes from, for the message.

    Raises:
        CheckpointError: Tensors are missing, unexpected or of another shape.
    """
    complaints = {
        "missing": sorted(own.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - own.keys()),
        "of another shape": [
            f"{name} {list(tensors[name].shape)} instead of {list(own[name].shape)}"
            for name in sorted(own.keys() & tensors.keys())
            if tensors[name].shape != own[name].shape
        ],
    }
    if any(complaints.values()):
        listed = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in complaints.items() if names)
        raise CheckpointError(f"{source} does not fit this RWKV-7: {listed}", component="backbone/rwkv7")
