"""RWKV-7 checkpoints in every layout that is in use: read one, load one into a model."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from modrwkv_core.backbones.rwkv7.fla import UNUSED, check_config, from_fla
from modrwkv_core.backbones.rwkv7.layouts import check_names, is_fla
from modrwkv_core.interfaces.pretrained import checkpoint_json, load_tensors
from modrwkv_core.storage.tensors import load_state_dict

__all__ = ["load_into", "read_official"]


def read_official(source: str) -> dict[str, Tensor]:
    """Read an RWKV-7 by official names, on the CPU, in the dtypes of the checkpoint.

    Args:
        source: A file of the official or of flash-linear-attention's names (safetensors or ``torch.save``), or a folder
            or model id in the layout of the Hugging Face Hub, in one file or in shards.

    Raises:
        CheckpointError: It is missing, damaged, or holds something else than an RWKV-7.
    """
    tensors = load_tensors(source)
    check_names(tensors, source)
    if is_fla(tensors):
        if not Path(source).is_file():
            check_config(checkpoint_json(source, "config.json"), source)
        tensors = from_fla(tensors)
    return tensors


def load_into(model: nn.Module, source: Path | str) -> None:
    """Load a checkpoint into an RWKV-7, in the dtypes of the model.

    Parameters on the meta device come to the CPU.

    Args:
        model: The RWKV-7.
        source: As for :func:`read_official`.

    Raises:
        CheckpointError: The file cannot be read, or tensors are missing, unexpected or of another shape; nothing has
            been loaded then.
    """
    tensors = {name: tensor for name, tensor in read_official(str(source)).items() if name not in UNUSED}
    load_state_dict(model, tensors, source, component="backbone/rwkv7")
