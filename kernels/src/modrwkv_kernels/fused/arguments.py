"""Checks of arguments that the fused functions share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

__all__ = ["check"]


def check(name: str, x: Tensor, expected: Sequence[int], reference_name: str, reference: Tensor) -> None:
    """Compare a tensor's shape and device with what a reference tensor asks for.

    Raises:
        ValueError: They differ.
    """
    if list(x.shape) != list(expected):
        raise ValueError(
            f"{name} is {list(x.shape)} but {reference_name} is {list(reference.shape)}; it needs {list(expected)}"
        )
    if x.device != reference.device:
        raise ValueError(f"{name} is on {x.device} but {reference_name} is on {reference.device}")
