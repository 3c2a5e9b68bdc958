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
from modrwkv_core.model.assemble import build_backbone
from modrwkv_core.model.run import RunFolder, load_checkpoint, load_run_manifest
from modrwkv_core.storage.files import atomic_folder, write_json
from modrwkv_core.storage.tensors import check_state_dict, write_tensors

__all__ = [
    "FORMATS",
    "Format",
    "backbone_of_run",
    "format_of",
    "read_backbone",
    "sizes_of",
    "write_backbone",
    "write_initial_state",
]

Format = Literal["pth", "safetensors", "fla"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


def format_of(target: Path) -> Format:
    """Return the format that a path's suffix says; anything but the two kinds of file is a folder for FLA."""
    return {".pth": "pth", ".safetensors": "safetensors"}.get(target.suffix, "fla")  # type: ignore[return-value]


def read_backbone(source: str, checkpoint: str = "last") -> dict[str, Tensor]:
    """Read a whole RWKV-7 language model, in whichever layout, by the official names.

    Args:
        source: A file, folder or model id as for :func:`~modrwkv_core.backbones.rwkv7.checkpoint.read_official`, or the
            folder of a run, whose backbone is read. What fine-tuning added to it is merged; an initial state is
            left out.
        checkpoint: Of a run; see :meth:`~modrwkv_core.model.run.RunFolder.select`.

    Raises:
        CheckpointError: It is not a whole RWKV-7, or holds more than one.
    """
    folder = RunFolder(Path(source))
    tensors = backbone_of_run(folder, checkpoint).weights() if folder.manifest.is_file() else read_official(source)
    sizes_of(tensors, source)
    return tensors


def backbone_of_run(folder: RunFolder, checkpoint: str = "last") -> RWKV7:
    """Return the backbone of a run, merged, on the CPU.

    Raises:
        CheckpointError: The run has no checkpoint, it does not fit the manifest, or the backbone is not an RWKV-7.
    """
    path = folder.select(checkpoint)
    loaded = load_run_manifest(folder)
    with torch.device("meta"):  # the checkpoint has all weights
        backbone = build_backbone(loaded, loaded.manifest.tokenizer.vocab_size)
    if not isinstance(backbone, RWKV7):
        raise CheckpointError(
            f"the backbone of {folder.path} is '{loaded.manifest.backbone.type}', not an RWKV-7",
            hint="only backbones of type rwkv7 can be converted",
        )
    load_checkpoint(loaded, {"backbone": backbone}, path, merge=True)
    return backbone


def write_initial_state(run: str, target: Path, checkpoint: str = "last") -> None:
    """Write the state that a run's conversations begin with, as state tuning made it.

    Raises:
        CheckpointError: ``run`` is not a run, or its backbone begins with zeros; ``target`` exists.
        WriteError: ``target`` cannot be written.
    """
    folder = RunFolder(Path(run))
    if target.exists():
        raise CheckpointError(f"{target} already exists", hint="remove it, or choose another name")
    backbone = backbone_of_run(folder, checkpoint) if folder.manifest.is_file() else None
    if backbone is None or backbone.initial_state is None:
        raise CheckpointError(f"{run} is not a run with a trained state", hint="train one with `finetuning: state`")
    with torch.no_grad():
        backbone.init_state(1).save(target)


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
