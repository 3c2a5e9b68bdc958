"""Looks through the installed distributions for entry points of the group ``modrwkv``; imports none of them."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions

from packaging.utils import canonicalize_name
from packaging.version import Version

from modrwkv_core.registry.records import Plugin

__all__ = ["GROUP", "Candidate", "canonical", "scan"]

GROUP = "modrwkv"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry point that may become a plugin.

    Attributes:
        plugin: Its record, so far without registrations; ``failed`` if the distribution's metadata are damaged.
        distribution: Where it comes from.
        version: The distribution's version, for comparison.
        entry_point: What to load; None if the metadata are damaged.
    """

    plugin: Plugin
    distribution: Distribution
    version: Version
    entry_point: EntryPoint | None


def canonical(name: str) -> str:
    """Return the name of a distribution or of a plugin in the spelling by which names are compared."""
    distribution, colon, entry_point = name.partition(":")
    return canonicalize_name(distribution) + colon + entry_point


def scan() -> list[Candidate]:
    """Return all candidates by distribution and entry point.

    Of duplicates, the one that Python finds first comes first; within a folder, the newest. The ``.egg-info`` that
    setuptools leaves beside the sources of an editable installation is no duplicate as long as it says the same.
    """
    folders = list(dict.fromkeys(os.path.realpath(folder) for folder in sys.path))  # one may be listed twice
    found = [candidate for distribution in distributions(path=folders) for candidate in _candidates(distribution)]
    installed = {_content(candidate) for candidate in found if not _is_egg_info(candidate)}
    found = [candidate for candidate in found if not _is_egg_info(candidate) or _content(candidate) not in installed]
    folder_ranks = {folder: rank for rank, folder in enumerate(folders)}

    def order(candidate: Candidate) -> tuple[list[str], int]:
        rank = folder_ranks.get(os.path.realpath(candidate.plugin.location), len(folders))
        return canonical(candidate.plugin.name).split(":", 1), rank

    return sorted(sorted(found, key=lambda candidate: candidate.version, reverse=True), key=order)


def _is_egg_info(candidate: Candidate) -> bool:
    return candidate.distribution.read_text("PKG-INFO") is not None


def _content(candidate: Candidate) -> tuple[str, Version, str]:
    value = candidate.entry_point.value if candidate.entry_point is not None else ""
    return canonical(candidate.plugin.name), candidate.version, value


def _candidates(distribution: Distribution) -> Iterator[Candidate]:
    location = str(distribution.locate_file(""))
    try:
        if f"[{GROUP}]" not in (distribution.read_text("entry_points.txt") or ""):
            return
        metadata = distribution.metadata
        if "Name" not in metadata or "Version" not in metadata:
            raise ValueError("its METADATA are missing or lack name or version")
        name, version = metadata["Name"], Version(metadata["Version"])
        entry_points = list(distribution.entry_points.select(group=GROUP))
    except Exception as error:
        damaged = Plugin(
            name=f"unknown:{location}",
            distribution="unknown",
            version="unknown",
            location=location,
            state="failed",
            error=f"damaged metadata of a distribution in {location}\n{''.join(traceback.format_exception(error))}",
            cause=error,
        )
        yield Candidate(damaged, distribution, Version("0"), None)
        return
    for entry_point in entry_points:
        plugin = Plugin(name=f"{name}:{entry_point.name}", distribution=name, version=str(version), location=location)
        yield Candidate(plugin, distribution, version, entry_point)
