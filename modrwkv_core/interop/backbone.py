"""RWKV-7 weights in every layout that is in use: official ``.pth``, safetensors, flash-linear-attention's folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from modrwkv_core.backbones.rwkv7.checkpoint import read_official
from modrwkv_core.backbones.rwkv7.config import RWKV7Config
from modrwkv_core.backbones.rwkv7.fla import UNUSED, fla_config, to_fla
from modrwkv_core.backbones.rwkv7.model import RWKV7
from modrwkv_core.backbones.rwkv7.sizes import RWKV7Sizes
from modrwkv_core.errors import CheckpointError
from modrwkv_core.model.run import RunFolder
from modrwkv_core.storage.files import atomic_folder, write_json
from modrwkv_core.storage.tensors import check_state_dict, write_tensors

__all__ = ["FORMATS", "Format", "format_of", "read_backbone", "sizes_of", "write_backbone"]

Format = Literal["pth", "safetensors", "fla"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


def format_of(target: Path) -> Format:
    """Return the format that a path's suffix says; anything but the two kinds of file is a folder for FLA."""
    return {".pth": "pth", ".safetensors": "safetensors"}.get(target.suffix, "fla")  # type: ignore[return-value]


def read_backbone(source: str) -> dict[str, Tensor]:
    """Read a whole RWKV-7 language model, in whichever layout, by the official names.

    Args:
        source: A file, folder or model id as for :func:`~modrwkv_core.backbones.rwkv7.checkpoint.read_official`, or the
            folder of a run, whose newest backbone is read.

    Raises:
        CheckpointError: It is not a whole RWKV-7, or holds more than one.
    """
    if RunFolder(Path(source)).manifest.is_file():
        source = str(RunFolder(Path(source)).latest() / "backbone.safetensors")
    tensors = read_official(source)
    sizes_of(tensors, source)
    return tensors


def sizes_of(tensors: Mapping[str, Tensor], source: str) -> RWKV7Sizes:
    """Return the sizes of the RWKV-7 that has these tensors, by official names.

    Args:
        tensors: All of them, with or without those that nothing uses.
        source: Where they come from, for messages.

    Raises:
        CheckpointError: They are not exactly those of an RWKV-7; the message names them.
    """
    try:
        sizes = RWKV7Sizes.of_shapes({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    except ValueError as error:
        raise CheckpointError(f"{source} does not hold an RWKV-7: {error}", component="backbone/rwkv7") from error
    assert sizes.vocab is not None
    with torch.device("meta"):
        own = RWKV7(RWKV7Config(**asdict(sizes)), sizes.vocab).state_dict()
    used = {name: tensor for name, tensor in tensors.items() if name not in UNUSED}
    check_state_dict(used, own, source, component="backbone/rwkv7")
    return sizes


def write_backbone(tensors: Mapping[str, Tensor], target: Path, form: Format) -> None:
    """Write an RWKV-7 by official names to a file, or as a folder for FLA; whole or not at all.

    Raises:
        CheckpointError: ``target`` exists, or FLA cannot express the model.
        WriteError: ``target`` cannot be written.
    """
    if target.exists():
        raise CheckpointError(f"{target} already exists", hint="remove it, or choose another name")
    if form == "fla":
        sizes = sizes_of(tensors, str(target))
        config = fla_config(sizes, tensors["emb.weight"].dtype)
        with atomic_folder(target) as folder:
            write_tensors(to_fla(tensors), folder / "model.safetensors")
            write_json(folder / "config.json", config)
        return
    if target.suffix != f".{form}":
        raise CheckpointError(f"{target} does not end in .{form}", hint=f"name the target {target.name}.{form}")
    write_tensors(tensors, target)
