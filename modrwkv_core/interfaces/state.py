"""The State interface: what a backbone remembers, and how a state is written to a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from modrwkv_core.errors import CheckpointError
from modrwkv_core.storage.tensors import read_metadata, read_safetensors, write_safetensors

__all__ = ["State", "load_state_tensors", "save_state_tensors"]


class State(ABC):
    """Everything that a backbone knows of the tokens that it has read, for a batch of sequences.

    Saving, forking and reusing states makes any prefix a free cache.

    Attributes:
        constant_size: Whether its size does not depend on how much was read. That of a recurrent backbone never does;
            the key-value cache of a Transformer grows.
    """

    constant_size: ClassVar[bool] = True

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Number of sequences."""

    @abstractmethod
    def fork(self, copies: int = 1) -> Self:
        """Return an independent copy in which every sequence stands ``copies`` times in succession."""

    @classmethod
    @abstractmethod
    def stack(cls, states: Sequence[Self]) -> Self:
        """Return one state with the sequences of all ``states``."""

    @abstractmethod
    def select(self, indices: Sequence[int]) -> Self:
        """Return an independent state of these sequences, in this order."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """Return the state on ``device``."""

    @abstractmethod
    def save(self, path: Path | str) -> None:
        """Write the state to ``path`` (safetensors), whole or not at all."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path | str) -> Self:
        """Read a state back.

        Raises:
            CheckpointError: The file is missing, damaged or not a state of this backbone.
        """


def save_state_tensors(tensors: Mapping[str, Tensor], path: Path | str, content: str) -> None:
    """Write the tensors of a state to ``path`` (safetensors), whole or not at all.

    Args:
        tensors: By name.
        path: The file.
        content: What kind of state it is; :func:`load_state_tensors` asks for it.

    Raises:
        WriteError: Writing failed; a former file is untouched.
    """
    write_safetensors(dict(tensors), path, {"content": content})


def load_state_tensors(path: Path | str, content: str) -> dict[str, Tensor]:
    """Read what :func:`save_state_tensors` wrote, onto the CPU.

    Raises:
        CheckpointError: The file is missing, damaged, or no state of the kind ``content``.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"there is no state {path}")
    if read_metadata(path).get("content") != content:
        raise CheckpointError(f"{path} is not a {content}", hint="give a file that a state of this backbone saved")
    return read_safetensors(path)
