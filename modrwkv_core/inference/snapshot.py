"""The state of one conversation as a value: what was read, to be gone on from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import nn

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.state import State

__all__ = ["Snapshot", "digest_of_modules"]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The state of one sequence of one model. Nothing writes into it, so any number of answers may begin with it.

    Attributes:
        state: Of batch size 1.
        model_digest: Digest of the model whose state it is.
        tokens_read: Number of tokens that the state has read.
        pending: Tokens that belong to the sequence and that the state has not read: the last one of an answer.
    """

    state: State
    model_digest: str
    tokens_read: int
    pending: tuple[int, ...] = ()

    def check(self, model_digest: str) -> None:
        """Check that the state is that of a model.

        Raises:
            CheckpointError: It is another model's.
        """
        if self.model_digest != model_digest:
            raise CheckpointError(
                f"the state is one of the model {self.model_digest[:12]}, not of {model_digest[:12]}",
                hint="a state belongs to the weights that made it: load these, or read the conversation again",
            )


def digest_of_modules(module: nn.Module) -> str:
    """Return a digest of all tensors of a module, by which its states are known."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{plain.dtype}|{tuple(plain.shape)}|".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
