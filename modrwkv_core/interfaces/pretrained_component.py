"""The base of components whose weights a checkpoint of others can fill: all of them, or nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar

from torch import nn

from modrwkv_core.interfaces.component import Component
from modrwkv_core.interfaces.pretrained import load_strictly, load_tensors, weight_files
from modrwkv_core.interfaces.pretrained_config import PretrainedConfig

__all__ = ["PretrainedComponent"]


class PretrainedComponent(Component):
    """A component whose network a checkpoint of others can fill: all of it, or nothing.

    Attributes:
        config: Names the checkpoint.
        prefixes: Beginnings of names in checkpoints that the network's own names do not have; the first that fits a
            name is removed.
        unused: Names in checkpoints, with or without their prefix and with shell wildcards, of tensors that the network
            does not have (a text model, a decoder, a head). Other tensors are never left out.
        renamed: Parts of names in checkpoints, and what the network has instead.
    """

    config: PretrainedConfig
    prefixes: ClassVar[tuple[str, ...]] = ()
    unused: ClassVar[tuple[str, ...]] = ()
    renamed: ClassVar[Mapping[str, str]] = {}

    def network(self) -> nn.Module:
        """Return the module that the checkpoint fills: the component itself."""
        return self

    def load_pretrained(self) -> None:
        """Load the checkpoint that the configuration names, if any.

        Raises:
            CheckpointError: Tensors are missing, unexpected or of another shape; nothing has been loaded then.
        """
        if self.config.checkpoint is not None:
            tensors = load_tensors(self.config.checkpoint, self.own_names)
            load_strictly(self.network(), tensors, self.config.checkpoint)

    def pretrained_files(self) -> tuple[Path, ...]:
        """Return the checkpoint's weight files."""
        return () if self.config.checkpoint is None else tuple(weight_files(self.config.checkpoint))

    def own_names(self, names: Collection[str]) -> dict[str, str]:
        """Choose the network's tensors among those of a checkpoint: their names here by their names there."""
        own: dict[str, str] = {}
        unused = self.unused_tensors()
        for name in names:
            prefix = next((prefix for prefix in self.prefixes if name.startswith(prefix)), "")
            plain = name.removeprefix(prefix)
            if any(fnmatchcase(candidate, pattern) for candidate in (name, plain) for pattern in unused):
                continue
            for former, current in self.renamed.items():
                plain = plain.replace(former, current)
            own[name] = plain
        return own

    def unused_tensors(self) -> tuple[str, ...]:
        """Return :attr:`unused`; override it where the configuration decides, too."""
        return self.unused
