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

__all__ = ["State"]


class State(ABC):
    """Everything that a backbone knows of the tokens that it has read, for a batch of sequences.

    Saving, forking and reusing states makes any prefix a free cache.

    Attributes:
        constant_size: Whether its size does not depend on how much was read. That of a recurrent backbone never does;
            the key-value cache of a Transformer grows.
        content: What a file of such a state is, as its header and errors name it: ``"rwkv7 state"``.
    """

    constant_size: ClassVar[bool] = True
    content: ClassVar[str]

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
    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors of the state by name, as they are written to a file."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Return the state that these tensors, which may come from a damaged file, make up.

        Raises:
            KeyError: One is missing.
            ValueError: They are not those of a state.
        """

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def save(self, path: Path | str, metadata: Mapping[str, str] | None = None) -> None:
        """Write the state to ``path`` (safetensors), whole or not at all.

        Args:
            path: The file.
            metadata: Texts for its header.

        Raises:
            WriteError: Writing failed; a former file is untouched.
        """
        write_safetensors(self.tensors(), path, {**(metadata or {}), "content": self.content})

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a state back, onto the CPU.

        Raises:
            CheckpointError: The file is missing, damaged or not a state of this backbone.
        """
        if not Path(path).is_file():
            raise CheckpointError(f"there is no state {path}")
        if read_metadata(path).get("content") != cls.content:
            raise CheckpointError(
                f"{path} is not a {cls.content}", hint="give a file that a state of this backbone saved"
            )
        tensors = read_safetensors(path)
        try:
            return cls.from_tensors(tensors)
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"{path} is damaged, its tensors are not those of a {cls.content}: {error}",
                hint="make the state again",
            ) from error
