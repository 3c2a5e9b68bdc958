"""Compares what a distribution requires with what is installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

__all__ = ["Requirements"]


class Requirements:
    """Answers what a distribution lacks; looks each required distribution up once, for reading metadata takes long."""

    def __init__(self) -> None:
        self._versions: dict[str, str | None] = {}

    def unmet(self, wanting: Distribution) -> str:
        """Say which requirements of ``wanting`` are not met, as in "needs timm>=1.0, which is not installed".

        Environment markers are respected, optional extras are not required. Empty if nothing is lacking.
        """
        return "; ".join(self._complaints(wanting.requires or (), extra=None))

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
                    yield from self._complaints(distribution(requirement.name).requires or (), extra=name)

    def _version(self, name: str) -> str | None:
        if name not in self._versions:
            try:
                self._versions[name] = distribution(name).version
            except PackageNotFoundError:
                self._versions[name] = None
        return self._versions[name]


def _applies(requirement: Requirement, extra: str | None) -> bool:
    """Whether a distribution asked for with ``extra`` has this requirement because of the extra; None: in any case."""
    if requirement.marker is None:
        return extra is None
    always = requirement.marker.evaluate({"extra": ""})
    return always if extra is None else not always and requirement.marker.evaluate({"extra": extra})
