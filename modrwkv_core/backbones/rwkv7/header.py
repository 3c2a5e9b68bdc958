"""The shapes of an RWKV-7's tensors by official names, without reading the tensors."""

from __future__ import annotations

from modrwkv_core.backbones.rwkv7.layouts import check_names, is_fla
from modrwkv_core.interfaces.pretrained import weight_files
from modrwkv_core.storage.tensor_shapes import read_shapes, unwrapped_names

__all__ = ["official_shapes"]


def official_shapes(source: str) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a checkpoint in any layout. Official safetensors files do not need torch.

    Args:
        source: As for :func:`~modrwkv_core.backbones.rwkv7.checkpoint.read_official`.

    Raises:
        CheckpointError: It is missing, damaged, or holds something else than an RWKV-7.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(source):
        shapes |= read_shapes(file)
    plain = unwrapped_names(shapes, source)
    shapes = {plain[name]: shape for name, shape in shapes.items()}
    check_names(shapes, source)
    if not is_fla(shapes):
        return shapes

    import torch

    from modrwkv_core.backbones.rwkv7.fla import from_fla

    tensors = from_fla({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
