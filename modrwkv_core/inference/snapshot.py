"""The state of one conversation as a value: what was read, to be gone on from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import nn

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.state import State
from modrwkv_core.storage.tensors import read_metadata

__all__ = ["Snapshot", "digest_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The state of one sequence of one model. Nothing writes into it, so any number of answers may begin with it.

    Attributes:
        state: Of batch size 1.
        model_digest: Name and digest of the model whose state it is.
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
        _check("the state", self.model_digest, model_digest)

    def save(self, path: Path | str) -> None:
        """Write it to ``path`` (safetensors), whole or not at all.

        Raises:
            WriteError: Writing failed; a former file is untouched.
        """
        position = json.dumps({"tokens_read": self.tokens_read, "pending": self.pending})
        self.state.save(path, {"model": self.model_digest, "position": position})

    @classmethod
    def load(cls, path: Path | str, state_type: type[State], model_digest: str) -> Self:
        """Read one back, onto the CPU; see :meth:`~modrwkv_core.inference.session.Session.load_snapshot`.

        Raises:
            CheckpointError: The file is missing, damaged, no snapshot, or another model's.
        """
        if not Path(path).is_file():
            raise CheckpointError(f"there is no snapshot {path}")
        metadata = read_metadata(path)
        try:
            position = json.loads(metadata["position"])
            tokens_read, pending = int(position["tokens_read"]), tuple(map(int, position["pending"]))
            made_by = metadata["model"]
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"{path} is not a snapshot", hint="give a file that a snapshot was saved to"
            ) from error
        _check(str(path), made_by, model_digest)
        return cls(state_type.load(path), model_digest, tokens_read, pending)


def digest_of(name: str, module: nn.Module) -> str:
    """Return the name of a model and a digest of all its tensors, by which its states are known."""
    digest = hashlib.sha256()
    for tensor_name, tensor in sorted(module.state_dict().items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{tensor_name}|{plain.dtype}|{tuple(plain.shape)}|".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().data)
    return f"{name}@{digest.hexdigest()}"


def _check(what: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise CheckpointError(
            f"{what} belongs to the model {_short(found)}, not to {_short(wanted)}",
            hint="a state belongs to the weights that made it: load these, or read the conversation again",
        )


def _short(model_digest: str) -> str:
    name, _, digest = model_digest.rpartition("@")
    return f"{name} ({digest[:12]})"
