"""Checkpoints in the official layout: load one into a model."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from modrwkv_core.tensors import load_state_dict, read_tensors

__all__ = ["UNUSED", "load_into"]

UNUSED = frozenset({"blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2"})
"""The first layer has no value residual, yet many files hold tensors for it."""


def load_into(model: nn.Module, path: Path | str) -> None:
    """Load an official checkpoint into an RWKV-7, in the dtypes of the model.

    Parameters on the meta device come to the CPU.

    Raises:
        CheckpointError: The file cannot be read, or tensors are missing, unexpected or of another shape; nothing has
            been loaded then.
    """
    tensors = {name: tensor for name, tensor in read_tensors(path).items() if name not in UNUSED}
    load_state_dict(model, tensors, path, component="backbone/rwkv7")
