"""Looks through the installed distributions: entry points of the group ``modrwkv``, and what a distribution lacks.

Nothing is imported here.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from importlib.metadata import Distribution, EntryPoint, PackageNotFoundError, distribution, distributions

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from modrwkv_core.registry.records import Plugin

__all__ = ["GROUP", "Candidate", "Requirements", "canonical", "scan"]

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
    owner, colon, entry_point = name.partition(":")
    return canonicalize_name(owner) + colon + entry_point


def scan() -> list[Candidate]:
    """Return all candidates by distribution and entry point.

    Of duplicates, the one that Python finds first comes first; within a folder, the newest. The ``.egg-info`` that
    setuptools leaves beside the sources of an editable installation is no duplicate as long as it says the same.
    """
    folders = list(dict.fromkeys(os.path.realpath(folder) for folder in sys.path))  # one may be listed twice
    found = [candidate for one in distributions(path=folders) for candidate in _candidates(one)]
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


def _candidates(found: Distribution) -> Iterator[Candidate]:
    location = str(found.locate_file(""))
    try:
        if f"[{GROUP}]" not in (found.read_text("entry_points.txt") or ""):
            return
        headers = _headers(found)
        if "Name" not in headers or "Version" not in headers:
            raise ValueError("its METADATA are missing or lack name or version")
        name, version = headers["Name"], Version(headers["Version"])
        entry_points = list(found.entry_points.select(group=GROUP))
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
        yield Candidate(damaged, found, Version("0"), None)
        return
    for entry_point in entry_points:
        plugin = Plugin(name=f"{name}:{entry_point.name}", distribution=name, version=str(version), location=location)
        yield Candidate(plugin, found, version, entry_point)


def _headers(found: Distribution) -> Message:
    """Return the headers of a distribution's metadata; ``found.metadata`` parses the README below them as well."""
    text = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
    return HeaderParser().parsestr(text.partition("\n\n")[0])


def _requires(found: Distribution) -> Iterable[str]:
    # What setuptools leaves as egg-info has its requirements in another file.
    return _headers(found).get_all("Requires-Dist") or found.requires or ()


class Requirements:
    """Answers what a distribution lacks; looks each required distribution up once, for reading metadata takes long."""

    def __init__(self) -> None:
        self._versions: dict[str, str | None] = {}

    def unmet(self, wanting: Distribution) -> str:
        """Say which requirements of ``wanting`` are not met, as in "needs timm>=1.0, which is not installed".

        Environment markers are respected, optional extras are not required. Empty if nothing is lacking.
        """
        return "; ".join(self._complaints(_requires(wanting), extra=None))

    def _complaints(self, requirements: Iterable[str], extra: str | None) -> Iterator[str]:
        for text in requirements:
            requirement = Requirement(text)
            if not _applies(requirement, extra):
                continue
            extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
            wanted = f"{requirement.name}{extras}{requirement.specifier}"
            version = self._version(requirement.name)
            if version is None:
                yield f"needs {wanted}, which is not installed"
            elif not requirement.specifier.contains(version, prereleases=True):
                yield f"needs {wanted}, but {version} is installed"
            else:
                for name in sorted(requirement.extras):
                    yield from self._complaints(_requires(distribution(requirement.name)), extra=name)

    def _version(self, name: str) -> str | None:
        if name not in self._versions:
            try:
                self._versions[name] = _headers(distribution(name))["Version"]
            except PackageNotFoundError:
                self._versions[name] = None
        return self._versions[name]


def _applies(requirement: Requirement, extra: str | None) -> bool:
    """Whether a distribution asked for with ``extra`` has this requirement because of the extra; None: in any case."""
    if requirement.marker is None:
        return extra is None
    always = requirement.marker.evaluate({"extra": ""})
    return always if extra is None else not always and requirement.marker.evaluate({"extra": extra})
