"""Where two cost curves cross."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["crossings", "describe", "write"]


def crossings(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Return where the cheaper of two curves changes, rising; positions where both were measured count.

    Between measurements both are taken for power laws, which are straight lines where both axes are logarithmic.

    Args:
        ours: Positive costs by position on an axis.
        theirs: Those of the other.
    """
    found: list[float] = []
    last: tuple[float, float] | None = None  # the latest position, as a logarithm, where they differ, and their ratio's
    equal: float | None = None  # the first position after it where they do not
    for x in sorted(ours.keys() & theirs.keys()):
        place, gap = math.log(x), math.log(ours[x] / theirs[x])
        if gap == 0:
            equal = place if equal is None else equal
            continue
        if last is not None and (last[1] > 0) != (gap > 0):
            between = last[0] + (place - last[0]) * last[1] / (last[1] - gap)
            found.append(math.exp(between if equal is None else equal))
        last, equal = (place, gap), None
    return found


def describe(ours: Mapping[int, float], theirs: Mapping[int, float], names: tuple[str, str]) -> str:
    """Say in words which curve is cheaper where: ``transformer is cheaper up to about 1,900, then rwkv7``."""
    positions = sorted(ours.keys() & theirs.keys())
    if not positions:
        return "no position where both were measured"
    apart = [ours[x] - theirs[x] for x in positions if ours[x] != theirs[x]]
    first, last = f"{positions[0]:,}", f"{positions[-1]:,}"
    span = f"from {first} to {last}" if len(positions) > 1 else f"at {first}"
    if not apart:
        return f"equal {span}"
    cheaper = 0 if apart[0] < 0 else 1
    points = crossings(ours, theirs)
    if not points:
        return f"{names[cheaper]} is cheaper {span}"
    words = [f"{names[cheaper]} is cheaper up to about {write(points[0])}"]
    ends = [*(f" up to about {write(point)}" for point in points[1:]), ""]
    words += [f"then {names[(cheaper + index) % 2]}{end}" for index, end in enumerate(ends, 1)]
    return ", ".join(words) + f" (measured {span})"


def write(point: float) -> str:
    """Write a position on an axis to three digits at least."""
    return f"{point:,.0f}" if point >= 100 else f"{point:.3g}"
