"""Named tensors on disk: read, check, load and write them, in safetensors' and PyTorch's formats."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from modrwkv_core.errors import CheckpointError
from modrwkv_core.storage.files import atomic_write
from modrwkv_core.storage.tensor_formats import AGAIN, check_pickled, format_of_file

__all__ = [
    "check_finite",
    "check_state_dict",
    "load_state_dict",
    "read_metadata",
    "read_pickled",
    "read_safetensors",
    "read_tensors",
    "tensor_names",
    "write_safetensors",
    "write_tensors",
]

_LISTED: Final = 20


def read_tensors(path: Path | str, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """Read the tensors of a file, on the CPU and in the file's dtypes. No code in the file is run.

    Args:
        path: A safetensors file, or one that ``torch.save`` wrote, whatever its name.
        names: The tensors to read; all by default.

    Raises:
        CheckpointError: The file is missing, damaged, of another format, or holds anything but named tensors.
    """
    path = Path(path)
    form = format_of_file(path)
    if form == "safetensors":
        return read_safetensors(path, names)
    tensors = read_pickled(path, form)
    return tensors if names is None else {name: tensors[name] for name in names}


def read_safetensors(path: Path | str, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """Read a safetensors file whatever its name; see :func:`read_tensors`."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in (file.keys() if names is None else names)}
    except Exception as error:  # safetensors raises what a damaged header leads it to
        raise _damaged(path, error) from error


def tensor_names(path: Path | str) -> set[str]:
    """Return the names of the tensors of a safetensors file.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return set(file.keys())
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def read_metadata(path: Path | str) -> dict[str, str]:
    """Read the metadata of a safetensors file.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def write_tensors(tensors: Mapping[str, Tensor], path: Path | str, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors, in their dtypes, to a ``.safetensors`` or ``.pth`` file, whole or not at all.

    Args:
        tensors: By name, on any device.
        path: The file.
        metadata: Texts for the header of a safetensors file.

    Raises:
        CheckpointError: The suffix is another one.
        WriteError: Writing failed; a former file is untouched.
    """
    path = Path(path)
    if path.suffix == ".pth":
        with atomic_write(path) as temporary:
            try:
                torch.save(_with_storage_of_their_own(tensors), temporary)
            except RuntimeError as error:  # how torch reports a failed write
                raise OSError(str(error)) from error
    elif path.suffix == ".safetensors":
        write_safetensors(tensors, path, metadata)
    else:
        raise CheckpointError(f"{path} ends neither in .pth nor in .safetensors")


def write_safetensors(
    tensors: Mapping[str, Tensor], path: Path | str, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file whatever its name; see :func:`write_tensors`."""
    with atomic_write(Path(path)) as temporary:
        try:
            save_file(_with_storage_of_their_own(tensors), temporary, metadata={"format": "pt"} | dict(metadata or {}))
        except SafetensorError as error:
            raise OSError(str(error)) from error


def check_state_dict(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    source: Path | str,
    *,
    component: str | None = None,
    hint: str | None = None,
) -> None:
    """Compare the names and shapes of a checkpoint with those that a module expects.

    Args:
        tensors: Those of the checkpoint.
        expected: Those of the module.
        source: Where the checkpoint comes from, for the message.
        component: Whose weights they are, for the message.
        hint: What to do, for the message.

    Raises:
        CheckpointError: Tensors are missing, unexpected or of another shape.
    """
    problems = {
        "missing": expected.keys() - tensors.keys(),
        "unexpected": tensors.keys() - expected.keys(),
        "of another shape": {
            f"{name} {list(tensors[name].shape)} instead of {list(expected[name].shape)}"
            for name in expected.keys() & tensors.keys()
            if tensors[name].shape != expected[name].shape
        },
    }
    found = [f"{len(names)} {problem}: {_listed(names)}" for problem, names in problems.items() if names]
    if found:
        raise CheckpointError(f"the tensors of {source} do not fit: {'; '.join(found)}", component=component, hint=hint)


def check_finite(tensors: Mapping[str, Tensor], source: Path | str, *, component: str | None = None) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        CheckpointError: It names the tensors.
    """
    bad = {name for name, tensor in tensors.items() if tensor.is_floating_point() and not _is_finite(tensor)}
    if bad:
        raise CheckpointError(
            f"{source} holds NaN or infinity in {_listed(bad)}",
            component=component,
            hint="use an earlier checkpoint; train on with a lower learning rate",
        )


def load_state_dict(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    source: Path | str,
    *,
    component: str | None = None,
    hint: str | None = None,
) -> None:
    """Load tensors into a module if they are exactly those that it has; see :func:`check_state_dict`.

    The dtypes and the device of the module stay as they are; parameters on the meta device come to the CPU.

    Raises:
        CheckpointError: Tensors are missing, unexpected or of another shape; nothing has been loaded then.
    """
    expected = module.state_dict()
    check_state_dict(tensors, expected, source, component=component, hint=hint)
    is_meta = any(tensor.is_meta for tensor in expected.values())
    if is_meta:
        tensors = {name: tensor.to(expected[name].dtype, copy=True) for name, tensor in tensors.items()}
    module.load_state_dict(tensors, assign=is_meta)


def read_pickled(path: Path, form: Literal["zip", "legacy"], *, contents: bool = True) -> dict[str, Tensor]:
    """Read a file of ``torch.save``, mapped into memory where its format allows it.

    Args:
        path: The file.
        form: Its format.
        contents: Whether to compare the checksums of the tensors, which reads the whole file.

    Raises:
        CheckpointError: The file is damaged, or holds anything but named tensors.
    """
    check_pickled(path, form, contents=contents)
    try:
        content: Any = torch.load(path, map_location="cpu", mmap=form == "zip", weights_only=True)
    except Exception as error:  # the unpickler raises whatever a damaged file leads it to
        raise _damaged(path, error) from error
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    ):
        raise CheckpointError(
            f"{path} is not a mapping of names to tensors",
            hint="save the weights alone: torch.save(model.state_dict(), path)",
        )
    for name, tensor in content.items():
        if tensor.layout != torch.strided or tensor.nbytes > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"{path} claims more elements of {name} than it holds", hint=AGAIN)
    return content


def _damaged(path: Path | str, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path} cannot be read: {_first_line(error)}", hint=AGAIN)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]


def _with_storage_of_their_own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring tensors to the CPU; views are copied, as they would be saved with all of their storage, or refused."""
    own: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        there = tensor.detach().cpu().contiguous()
        storage = there.untyped_storage()
        if storage.nbytes() != there.nbytes or storage.data_ptr() in storages:
            there = there.clone(memory_format=torch.contiguous_format)
        storages.add(there.untyped_storage().data_ptr())
        own[name] = there
    return own


def _is_finite(tensor: Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = len(ordered) - _LISTED
    return ", ".join(ordered[:_LISTED]) + (f" and {more} more" if more > 0 else "")
