"""Compares what a distribution requires with what is installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

__all__ = ["Requirements"]


class Requirements:
    """Answers what a distribution lacks; looks each required distribution up once."""

    def __init__(self) -> None:
        self._installed: dict[str, Distribution | None] = {}

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
            installed = self._find(requirement.name)
            if installed is None:
                yield f"needs {wanted}, which is not installed"
            elif not requirement.specifier.contains(installed.version, prereleases=True):
                yield f"needs {wanted}, but {installed.version} is installed"
            else:
                for name in sorted(requirement.extras):
                    yield from self._complaints(installed.requires or (), extra=name)

    def _find(self, name: str) -> Distribution | None:
        if name not in self._installed:
            try:
                self._installed[name] = distribution(name)
            except PackageNotFoundError:
                self._installed[name] = None
        return self._installed[name]


def _applies(requirement: Requirement, extra: str | None) -> bool:
    """Whether a distribution asked for with ``extra`` has this requirement because of the extra; None: in any case."""
    if requirement.marker is None:
        return extra is None
    always = requirement.marker.evaluate({"extra": ""})
    return always if extra is None else not always and requirement.marker.evaluate({"extra": extra})
