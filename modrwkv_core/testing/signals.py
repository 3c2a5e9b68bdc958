"""Signals that are not as they should be, made from one that is.

Nothing here knows any modality: a signal is a dataclass, and its data are the largest array among its fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["broken", "data_field", "odd"]

HUGE = 1e30
"""Far above any measurement; its square is infinite in float32."""


def data_field(signal: Any) -> str | None:
    """Return the name of the field that holds the data of ``signal``: the largest array; None if there is no array."""
    if not is_dataclass(signal):
        return None
    arrays = [(field.name, getattr(signal, field.name)) for field in fields(signal)]
    sizes = {name: value.size for name, value in arrays if isinstance(value, np.ndarray) and value.ndim}
    return max(sizes, key=lambda name: sizes[name], default=None)


def broken(signal: Any) -> Iterator[tuple[str, Any]]:
    """Yield variants that no processor may accept, each with what is wrong: nothing in it, NaN, infinity."""
    field = data_field(signal)
    if field is None:
        return
    data = getattr(signal, field)
    yield "nothing in it", replace(signal, **{field: data[:0]})
    if data.dtype.kind == "f":
        for value in (np.nan, np.inf):
            yield f"one value {value}", replace(signal, **{field: _with_middle(data, value)})


def odd(signal: Any) -> Iterator[tuple[str, Any]]:
    """Yield variants that a processor may read or refuse, each with what is unusual."""
    field = data_field(signal)
    if field is None:
        return
    data = getattr(signal, field)
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


def _with_middle(data: NDArray[Any], value: float) -> NDArray[Any]:
    changed = data.copy()
    changed[len(changed) // 2] = value
    return changed


def _read_only(data: NDArray[Any]) -> NDArray[Any]:
    copy = data.copy()
    copy.flags.writeable = False
    return copy
