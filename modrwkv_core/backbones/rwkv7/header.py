"""The shapes of a checkpoint's tensors, without reading the tensors."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from modrwkv_core.errors import CheckpointError

__all__ = ["read_shapes"]


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a ``.safetensors`` or ``.pth`` file; only the latter needs torch.

    Raises:
        CheckpointError: The file is missing, damaged, or of another format.
    """
    if path.suffix == ".safetensors" and path.is_file():
        try:
            with safe_open(path, framework="numpy") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from error

    from modrwkv_core.tensors import read_tensors

    return {name: tuple(tensor.shape) for name, tensor in read_tensors(path).items()}
