"""Signals that are not as they should be, made from one that is.

Nothing here knows any modality: a signal is a dataclass, and its data are the largest array among its fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["broken", "odd"]

HUGE = 1e30
"""Far above any measurement; its square is infinite in float32."""


def broken(signal: Any) -> Iterator[tuple[str, Any]]:
    """Yield variants that no processor may accept, each with what is wrong: nothing in it, NaN, infinity."""
    for field, data in _data(signal):
        yield "nothing in it", replace(signal, **{field: data[:0]})
        if data.dtype.kind == "f":
            for value in (np.nan, np.inf):
                yield f"one value {value}", replace(signal, **{field: _with_middle(data, value)})


def odd(signal: Any) -> Iterator[tuple[str, Any]]:
    """Yield variants that a processor may read or refuse, each with what is unusual."""
    for field, data in _data(signal):
        unusual = {
            "one step only": data[:1],
            "all values equal": np.zeros_like(data),
            "another order in memory": np.asfortranarray(data)[::-1],
            "an array that cannot be written": _read_only(data),
        }
        if data.ndim > 1:
            unusual["twice as wide"] = np.concatenate([data, data], axis=-1)
        if data.dtype.kind == "f":
            unusual["huge values"] = (data * HUGE).astype(data.dtype)
        for what, array in unusual.items():
            yield what, replace(signal, **{field: array})


def _data(signal: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the field of the largest array, if there is an array at all."""
    if is_dataclass(signal):
        arrays = [(field.name, getattr(signal, field.name)) for field in fields(signal)]
        arrays = [(name, value) for name, value in arrays if isinstance(value, np.ndarray) and value.ndim]
        yield from sorted(arrays, key=lambda named: -named[1].size)[:1]


def _with_middle(data: NDArray[Any], value: float) -> NDArray[Any]:
    changed = data.copy()
    changed[len(changed) // 2] = value
    return changed


def _read_only(data: NDArray[Any]) -> NDArray[Any]:
    copy = data.copy()
    copy.flags.writeable = False
    return copy
