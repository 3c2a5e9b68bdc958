"""The State interface: what a recurrent backbone remembers, of constant size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch

__all__ = ["State"]


class State(ABC):
    """Everything that a backbone knows of the tokens that it has read, for a batch of sequences.

    Saving, forking and reusing states makes any prefix a free cache.
    """

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
