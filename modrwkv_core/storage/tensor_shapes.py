"""Names and shapes of the tensors of a weight file, without reading the tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Final

from safetensors import safe_open

from modrwkv_core.errors import CheckpointError
from modrwkv_core.storage.tensor_formats import AGAIN, format_of_file

__all__ = ["read_shapes", "unwrapped_names"]

_WRAPPERS: Final = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
"""Modules that ``torch.compile``, activation checkpointing and FSDP insert into names."""


def read_shapes(path: Path | str) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a file, by name. Only files of ``torch.save`` need torch for it.

    Raises:
        CheckpointError: The file is missing, damaged, or of another format.
    """
    path = Path(path)
    form = format_of_file(path)
    if form != "safetensors":
        from modrwkv_core.storage.tensors import read_pickled

        return {name: tuple(tensor.shape) for name, tensor in read_pickled(path, form, contents=False).items()}
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors raises what a damaged header leads it to
        raise CheckpointError(f"{path} cannot be read: {error}", hint=AGAIN) from error


def unwrapped_names(names: Collection[str], source: Path | str) -> dict[str, str]:
    """Return the plain name of every tensor: without the modules that wrap a model for training.

    ``module.`` of data-parallel training is removed if all names begin with it.

    Args:
        names: Those of a checkpoint.
        source: Where it comes from, for the message.

    Raises:
        CheckpointError: Two tensors have the same plain name.
    """
    plain = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in names}
    while plain and all(name.startswith("module.") for name in plain.values()):
        plain = {name: shorter.removeprefix("module.") for name, shorter in plain.items()}
    twice = sorted(name for name, count in Counter(plain.values()).items() if count > 1)
    if twice:
        raise CheckpointError(
            f"{source} holds {len(twice)} tensors twice, with and without a prefix, such as {twice[0]}",
            hint="save the state dict of the model without its wrappers",
        )
    return plain
