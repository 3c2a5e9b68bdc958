"""Archives of photographs in folders of their classes, cut into disjoint parts."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from modrwkv_core.errors import DataError
from modrwkv_datasets.archive import member_names
from modrwkv_datasets.config import Part

__all__ = ["members_by_class"]


def members_by_class(folder: Path, part: Part, holdout: float, component: str) -> tuple[Path, dict[str, list[str]]]:
    """List the photographs of a part.

    Args:
        folder: Holds ``train.zip`` and ``test.zip`` with members ``{class}/{name}``.
        part: ``train`` and ``valid`` share the training photographs.
        holdout: Share of the training photographs of each class that ``valid`` holds: the last ones.
        component: Whom errors name.

    Returns:
        The archive, and its members of each class in order, classes in order.

    Raises:
        DataError: The archive is missing, damaged, or has fewer than two classes in the part.
    """
    archive = folder / ("test.zip" if part == "test" else "train.zip")
    by_class: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(member_names(archive)):
        parent, _, file = name.rpartition("/")
        if file and parent:
            by_class[parent.rpartition("/")[2]].append(name)
    chosen = {kind: _of_part(names, part, holdout) for kind, names in sorted(by_class.items())}
    if len(chosen) < 2 or not all(chosen.values()):
        raise DataError(
            f"{archive} needs photographs of two classes or more, in folders named after them",
            component=component,
            hint="is data_root the right folder, and `holdout` neither too small nor too large?",
        )
    return archive, chosen


def _of_part(names: list[str], part: Part, holdout: float) -> list[str]:
    if part == "test":
        return names
    border = len(names) - round(holdout * len(names))
    return names[border:] if part == "valid" else names[:border]
