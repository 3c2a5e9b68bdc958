"""The lock: what a run was made with, so that a later one can tell what has changed.

Versions come from the metadata of the installed distributions; nothing is imported. What only the running program
knows, the hashes of weight files and the kernels that were chosen, its caller adds.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution, version
from typing import Any

from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.plugin import PLUGIN_API

__all__ = ["compare_locks", "make_lock"]

LOCK_VERSION = 1

_PACKAGES = ("modrwkv", "modrwkv-kernels", "torch", "triton")


def make_lock(
    loaded: LoadedManifest, *, weights: Mapping[str, str] | None = None, kernels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the lock of a manifest on this machine, as plain values.

    Args:
        loaded: The manifest.
        weights: SHA-256 of each published weight file that is used, as ``part/file``.
        kernels: The backend that was chosen for each operation.
    """
    return {
        "lock": LOCK_VERSION,
        "manifest": loaded.digest,
        "seed": loaded.manifest.seed,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "plugin_api": PLUGIN_API,
        "plugins": loaded.registry.digest(),
        "components": {
            f"{kind}/{name}": {
                "distribution": entry.distribution,
                "version": entry.version,
                "commit": _commit(entry.distribution),
            }
            for (kind, name), entry in sorted(loaded.components.items())
        },
        "weights": dict(weights or {}),
        "kernels": dict(kernels or {}),
    }


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


def _version(name: str) -> str | None:
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
