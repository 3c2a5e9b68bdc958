"""The combinations of a sweep, and the overrides that they are."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from modrwkv_core.errors import ManifestError
from modrwkv_core.experiments.config import LoadedSweep, Parameter
from modrwkv_core.manifest.load import LoadedManifest, load_manifest

__all__ = ["check_space", "grid", "label", "overrides"]


def label(value: Any) -> str:
    """Write a value in short, for tables."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {label(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(label, value))
    if isinstance(value, str):
        return value
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value)


def overrides(point: Mapping[str, Any]) -> list[str]:
    """Return the arguments of the command line that set a combination: JSON is YAML.

    A name of several paths sets all of them.
    """
    return [
        f"{path.strip()}={json.dumps(value, ensure_ascii=False)}"
        for name, value in point.items()
        for path in name.split(",")
    ]


def grid(parameters: Mapping[str, Parameter]) -> list[dict[str, Any]]:
    """Return every combination; the last parameter changes fastest."""
    return [
        dict(zip(parameters, values, strict=True))
        for values in itertools.product(*(list(_values(parameter)) for parameter in parameters.values()))
    ]


def _values(parameter: Parameter) -> Iterator[Any]:
    if parameter.values is not None:
        yield from parameter.values
        return
    step = parameter.step or 1
    count = int((parameter.high - parameter.low) / step + 1e-9) + 1
    yield from (parameter.low + index * step for index in range(count))


def check_space(loaded: LoadedSweep, arguments: list[str]) -> LoadedManifest:
    """Load the manifest with the first value of each parameter, and with each other value or bound in turn.

    Args:
        loaded: The sweep.
        arguments: Overrides that all trials share.

    Returns:
        The manifest with the first values.

    Raises:
        ManifestError: The manifest refuses a value; the message begins with the parameter's place.
        PluginError: A value names a component that is missing or broken.
    """
    load_manifest(loaded.manifest, arguments)
    ends = {name: _ends(parameter) for name, parameter in loaded.sweep.parameters.items()}
    first = {name: values[0] for name, values in ends.items()}
    for name, values in ends.items():
        for value in values:
            try:
                load_manifest(loaded.manifest, [*arguments, *overrides(first | {name: value})])
            except ManifestError as error:
                raise ManifestError(
                    f"{loaded.place(name)}: the manifest refuses {label(value)}:\n{error.message}", hint=error.hint
                ) from error
    return load_manifest(loaded.manifest, [*arguments, *overrides(first)])


def _ends(parameter: Parameter) -> list[Any]:
    return [parameter.low, parameter.high] if parameter.values is None else list(parameter.values)
