"""Configuration classes: what a manifest may say about a component, and what can be computed without weights.

Every component has one configuration class, a frozen pydantic model that refuses unknown keys. It answers the
questions of the wiring check (widths and lengths) from configuration alone, so that a pipeline that cannot work is
refused before anything heavy is imported. This module never imports torch.
"""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, SerializationInfo, ValidationInfo

from modrwkv_core.errors import ManifestError

__all__ = [
    "AdapterConfig",
    "BackboneConfig",
    "CheckpointReference",
    "ComponentConfig",
    "CompressorConfig",
    "DataPath",
    "EncoderConfig",
    "FinetuningConfig",
    "HeadConfig",
    "ManifestPath",
    "OptimizerConfig",
    "SchedulerConfig",
    "SourceConfig",
    "TaskConfig",
    "TokenizerConfig",
    "local_path",
]

_MAX_NAME: Final = 255
_MAX_PATH: Final = 4095
"""What Linux allows, in bytes."""


def _folder(info: ValidationInfo, key: str) -> Path:
    context = info.context if isinstance(info.context, dict) else {}
    return Path(context.get(key, "."))


def local_path(path: Path | str) -> Path:
    """Return ``path`` with ``~`` expanded.

    Raises:
        ManifestError: No file can have this path.
    """
    names = Path(path).parts
    if "\0" in str(path):
        raise ManifestError(f"the path {str(path)!r} holds a NUL byte", hint="remove it")
    longest = max((len(name.encode("utf-8", "surrogateescape")) for name in names), default=0)
    if longest > _MAX_NAME or len(str(path)) > _MAX_PATH:
        raise ManifestError(
            f"the path {reprlib.repr(str(path))} is too long",
            hint=f"a name has at most {_MAX_NAME} bytes, a path at most {_MAX_PATH}",
        )
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ManifestError(f"there is no home folder of {names[0]}", hint="write the path out") from None


def _beside_manifest(path: Path, info: ValidationInfo) -> Path:
    return (_folder(info, "folder") / local_path(path)).absolute()


def _below_data_root(path: Path, info: ValidationInfo) -> Path:
    return (_folder(info, "data_root") / local_path(path)).absolute()


def _relative_to_data_root(path: Path, info: SerializationInfo) -> str:
    root = (info.context or {}).get("data_root")
    return str(path.relative_to(root) if root is not None and path.is_relative_to(root) else path)


def _hub_id_or_path(reference: str, info: ValidationInfo) -> str:
    path = _folder(info, "folder") / local_path(reference)
    is_path = reference.startswith((".", "/", "~")) or path.exists()
    return str(path.absolute()) if is_path else reference


ManifestPath = Annotated[Path, AfterValidator(_beside_manifest)]
"""A path; a relative one is meant from the folder of the manifest (validation context ``folder``)."""

DataPath = Annotated[
    Path, AfterValidator(_below_data_root), PlainSerializer(_relative_to_data_root, return_type=str, when_used="json")
]
"""A path; a relative one is meant from the data root (validation context ``data_root``). With that root as the
serialization context it is written relative again, so that a run's manifest serves where the data lie elsewhere."""

CheckpointReference = Annotated[str, AfterValidator(_hub_id_or_path)]
"""A Hugging Face model id, or a local path if it exists or begins with ``.``, ``/`` or ``~``."""


class ComponentConfig(BaseModel):
    """Base of all configuration classes. A subclass narrows ``type`` to ``Literal["its-name"]`` with that default."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    type: str

    def resolved(self) -> Self:
        """Return a copy that holds all that is needed to rebuild the component without outside files.

        A component that reads sizes from a pretrained checkpoint fills them in here; the run's manifest records the
        result, so that a run loads where the checkpoint is absent.
        """
        return self


class EncoderConfig(ComponentConfig, ABC):
    """Configuration of an encoder: media items to feature vectors."""

    @property
    @abstractmethod
    def out_dim(self) -> int:
        """Width of a feature vector."""

    @abstractmethod
    def out_length(self, length: int) -> int:
        """Number of feature vectors for an item of ``length`` (the unit is that of the processor's ``MediaItem``)."""

    @property
    def typical_length(self) -> int | None:
        """Length of an ordinary item, for the wiring check and its examples; None if items have no usual length."""
        return None


class CompressorConfig(ComponentConfig, ABC):
    """Configuration of a compressor: a sequence of features to a shorter one."""

    def out_dim(self, in_dim: int) -> int:
        """Width of the compressed features for features of width ``in_dim``."""
        return in_dim

    @abstractmethod
    def out_length(self, length: int) -> int:
        """Number of compressed features for ``length`` features; 0 if the sequence is too short."""


class AdapterConfig(ComponentConfig, ABC):
    """Configuration of an adapter: features to vectors of the backbone's hidden size."""

    def out_length(self, length: int) -> int:
        """Number of vectors for ``length`` features."""
        return length


class BackboneConfig(ComponentConfig, ABC):
    """Configuration of a backbone: the recurrent backbone."""

    @property
    @abstractmethod
    def in_dim(self) -> int:
        """Widden size of the backbone, which adapters must produce."""

    @property
    @abstractmethod
    def fixed_vocab_size(self) -> int | None:
        """Rows of the embedding that the weights fix; None if the tokenizer decides (from scratch)."""


class HeadConfig(ComponentConfig, ABC):
    """Configuration of a head: hidden vectors to an answer."""

    loss_weight: float = Field(default=1.0, ge=0.0, allow_inf_nan=False)
    """Factor of this head's loss in the sum that training minimizes."""


class TokenizerConfig(ComponentConfig, ABC):
    """Configuration of a tokenizer."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """One more than the largest id, special ids included."""


class SourceConfig(BaseModel, ABC):
    """Configuration of a data source. A subclass narrows ``source`` to ``Literal["its-name"]`` with that default."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    source: str

    repeat: float = Field(default=1.0, gt=0.0, le=10_000.0)
    """How often an epoch reads each record; 0.25 reads another quarter of them every epoch."""


class TaskConfig(ComponentConfig, ABC):
    """Configuration of an evaluation task."""


class OptimizerConfig(ComponentConfig, ABC):
    """Configuration of an optimizer."""

    weight_decay: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Decay of the large matrices: each step shrinks them by the learning rate times this."""


class SchedulerConfig(ComponentConfig, ABC):
    """Configuration of a learning-rate schedule."""


class FinetuningConfig(ComponentConfig, ABC):
    """Configuration of a fine-tuning method."""
