"""The FinetuningMethod interface: which parameters of a part learn, and what a checkpoint holds of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Generic, TypeVar

from torch import Tensor

from modrwkv_core.interfaces.component import Component
from modrwkv_core.interfaces.config import FinetuningConfig
from modrwkv_core.interfaces.guard import Origin
from modrwkv_core.storage.tensors import load_state_dict

__all__ = ["FinetuningMethod"]

FinetuningConfigT = TypeVar("FinetuningConfigT", bound=FinetuningConfig)


class FinetuningMethod(ABC, Generic[FinetuningConfigT]):
    """How the parts that a phase lists in ``train`` learn.

    For each of these parts the trainer calls :meth:`prepare` once when the phase begins, then optimizes the parameters
    of :meth:`trainable`, and saves :meth:`state_dict`. A run that is loaded is prepared in the same way, by the phases
    up to that of its checkpoint, before :meth:`load_state_dict` fills it.

    Attributes:
        origin: Who provides it, for errors; the core sets it.
    """

    origin: Origin | None = None

    def __init__(self, config: FinetuningConfigT) -> None:
        self.config = config

    def prepare(self, part: Component) -> None:
        """Add to ``part`` what the method needs, for example low-rank matrices. A part that has it is left alone."""

    @abstractmethod
    def trainable(self, part: Component) -> set[str]:
        """Return the names of the parameters of ``part`` that learn once it is prepared; none if it cannot learn.

        The trainer asks before the first phase begins, of parts that are not prepared; whether the answer is empty is
        all that counts then.
        """

    def state_dict(self, part: Component) -> dict[str, Tensor]:
        """Return what a checkpoint holds of ``part``, which must be enough to fill it again; by default all of it."""
        return part.state_dict()

    def frozen(self, part: Component) -> set[str]:
        """Return the names of those tensors of :meth:`state_dict` that never change, by default none.

        A checkpoint holds them in a file of their own, which the next one links instead of writing it again.
        """
        return set()

    def load_state_dict(self, part: Component, tensors: Mapping[str, Tensor], source: Path) -> None:
        """Fill a prepared ``part`` from what :meth:`state_dict` gave.

        Raises:
            CheckpointError: Tensors are missing, unexpected or of another shape; nothing has been loaded then.
        """
        hint = "the checkpoint was made with another manifest; use the manifest.yaml beside it"
        load_state_dict(part, tensors, source, component=f"finetuning/{self.config.type}", hint=hint)

    def merge(self, part: Component) -> None:
        """Fold what :meth:`prepare` added into the weights of ``part``, which then has its own layers again.

        A run that is loaded to answer is merged, and so is what is exported: decoders pack the weights of layers that
        they know. A merged part computes the same as before, and is not trained any further. By default nothing is
        done, which is right for methods that add nothing.
        """
