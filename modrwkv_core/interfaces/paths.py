"""The paths of manifests: what relative ones are resolved against, and which no file can have. Never imports torch."""

from __future__ import annotations

import reprlib
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, PlainSerializer, SerializationInfo, ValidationInfo

from modrwkv_core.errors import ManifestError

__all__ = ["CheckpointReference", "DataPath", "ManifestPath", "local_path"]

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
"""A path; a relative one is resolved against the folder of the manifest (validation context ``folder``)."""

DataPath = Annotated[
    Path, AfterValidator(_below_data_root), PlainSerializer(_relative_to_data_root, return_type=str, when_used="json")
]
"""A path; a relative one is resolved against the data root (validation context ``data_root``). With that root as the
serialization context it is written relative again, so that a run's manifest serves where the data lie elsewhere."""

CheckpointReference = Annotated[str, AfterValidator(_hub_id_or_path)]
"""A Hugging Face model id, or a local path if it exists or begins with ``.``, ``/`` or ``~``."""
