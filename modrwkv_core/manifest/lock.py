"""The lock: what a run was made with, so that a later process finds the same parts or says which are missing.

Versions come from the metadata of the installed distributions; nothing is imported. What only the running program
knows, the hashes of weight files and the kernels that were chosen, its caller adds. A lock may come from strangers,
with a run from the Hub: names and versions that no distribution can have are refused when it is read.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from modrwkv_core.errors import CheckpointError
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.plugin import PLUGIN_API
from modrwkv_core.registry import Entry

__all__ = ["Lock", "Provider", "compare_locks", "make_lock", "read_lock"]

LOCK_VERSION = 2

_PACKAGES = ("modrwkv", "modrwkv-kernels", "torch", "triton")

# The names of PEP 508 and the versions of PEP 440, without any sign that means something to a shell or to HTML.
_Distribution: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\z", max_length=200)
]
_Version: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*\z", max_length=200)]
_Key: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z]+/[a-z][a-z0-9_-]*\z", max_length=200)]


class Provider(BaseModel):
    """Who provided a component or a modality."""

    model_config = ConfigDict(frozen=True)

    distribution: _Distribution
    version: _Version
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]*\z")] | None = None


class Lock(BaseModel):
    """A run's lock, as far as programs read it."""

    model_config = ConfigDict(frozen=True)

    components: dict[_Key, Provider] = {}
    """Components and modalities by ``kind/name``."""

    @property
    def providers(self) -> dict[str, tuple[str, str]]:
        """Distribution and version of each component and modality, for :func:`modrwkv_core.registry.discover`."""
        return {key: (provider.distribution, provider.version) for key, provider in self.components.items()}


def make_lock(
    loaded: LoadedManifest, *, weights: Mapping[str, str] | None = None, kernels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the lock of a manifest on this machine, as plain values.

    Args:
        loaded: The manifest.
        weights: SHA-256 of each published weight file that is used, as ``part/file``.
        kernels: The backend that was chosen for each operation.
    """
    used: list[Entry[Any]] = [entry for _, entry in sorted(loaded.components.items())]
    used += [loaded.registry.modality(name) for name in loaded.manifest.modalities]
    return {
        "lock": LOCK_VERSION,
        "manifest": loaded.digest,
        "seed": loaded.manifest.seed,
        "python": platform.python_version(),
        "packages": {name: _installed_version(name) for name in _PACKAGES},
        "plugin_api": PLUGIN_API,
        "plugins": loaded.registry.digest(),
        "components": {
            entry.origin.component: {
                "distribution": entry.distribution,
                "version": entry.version,
                "commit": _commit(entry.distribution),
            }
            for entry in used
        },
        "weights": dict(weights or {}),
        "kernels": dict(kernels or {}),
    }


def read_lock(path: Path) -> Lock:
    """Read a run's lock; a run without one has an empty lock.

    Raises:
        CheckpointError: The file cannot be read, is damaged, or names what no distribution can be called.
    """
    try:
        return Lock.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Lock()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"{path} is damaged: {place}: {first['msg']}",
            hint="get the run anew from where it came; without the file, the installed plugins are used as they are",
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def compare_locks(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs, one line each, for example ``packages.torch: 2.10.0, now 2.11.0``."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    return [
        f"{key}: {old.get(key, 'absent')}, now {new.get(key, 'absent')}"
        for key in [*old, *(key for key in new if key not in old)]
        if old.get(key) != new.get(key)
    ]


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _installed_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit(name: str) -> str | None:
    """Return the commit that a distribution was installed from, if it came from version control (PEP 610)."""
    record = distribution(name).read_text("direct_url.json")
    if record is None:
        return None
    commit: str | None = json.loads(record).get("vcs_info", {}).get("commit_id")
    return commit
