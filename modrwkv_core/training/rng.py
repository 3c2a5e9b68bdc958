"""The random state of a process: what it draws next, for dropout and augmentation on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from modrwkv_core.errors import CheckpointError
from modrwkv_core.model.train_state import RngState

__all__ = ["Rng"]


@dataclass(frozen=True, slots=True)
class Rng:
    """State of torch's generators.

    Attributes:
        cpu: That of the CPU.
        cuda: That of the process's GPU, if it has one.
    """

    cpu: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> Self:
        """Return the state of the generators of a process that computes on ``device``."""
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None)

    def saved(self) -> RngState:
        """Return the state for a checkpoint."""
        return RngState(cpu=_hex(self.cpu), cuda=None if self.cuda is None else _hex(self.cuda))

    @staticmethod
    def restore(state: RngState, device: torch.device) -> None:
        """Set the generators to a state of a checkpoint.

        Raises:
            CheckpointError: It is not the state of a generator.
        """
        try:
            torch.set_rng_state(_bytes(state.cpu))
            if device.type == "cuda" and state.cuda is not None:
                torch.cuda.set_rng_state(_bytes(state.cuda), device)
        except RuntimeError as error:
            raise CheckpointError(
                f"the checkpoint's random state is not one: {error}", hint="remove it to use an earlier checkpoint"
            ) from error


def _hex(state: Tensor) -> str:
    return bytes(state.tolist()).hex()


def _bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
