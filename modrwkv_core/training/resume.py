"""What may change between a run and its resumption, and how a change is noticed."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from modrwkv_core.errors import CheckpointError, DataError
from modrwkv_core.interfaces.record import Media, Record, Target, Text
from modrwkv_core.interfaces.source import Source
from modrwkv_core.manifest.document import parse, read_document
from modrwkv_core.manifest.load import LoadedManifest, dump_manifest
from modrwkv_core.manifest.lock import compare_locks
from modrwkv_core.model.run import RunFolder
from modrwkv_core.model.train_state import SourceFingerprint, TrainState

__all__ = ["check_data", "check_manifest", "fingerprint", "warn_of_other_versions"]

_FREE: Final = frozenset(
    {
        "name",
        "data_root",
        "evaluation",
        "parallel",
        "plugins",
        "data.workers",
        "data.valid",
        "data.on_error",
        "data.max_error_share",
        "data.feature_cache",
    }
)
"""Sections and keys that do not change what is computed."""

_FREE_IN_PHASE: Final = frozenset(
    {
        "log_every",
        "eval_every",
        "checkpoint_every",
        "emerge_by",
        "early_stopping",
        *(f"early_stopping.{key}" for key in ("metric", "patience", "min_delta")),
    }
)
_LENGTH: Final = frozenset({"steps", "epochs"})
_SAMPLE: Final = 256


def check_manifest(folder: RunFolder, loaded: LoadedManifest, state: TrainState) -> bool:
    """Compare the manifest that a run began with to the one that it is resumed with.

    Phases that have not begun may change, and so may what does not change what is computed: workers, logging,
    checkpoint intervals, validation, evaluation, plugins, devices, and the length of the phase that the run stands in.

    Returns:
        Whether anything but ``data_root`` and ``evaluation`` differs.

    Raises:
        CheckpointError: Something else differs; the message names the keys.
    """
    before: Mapping[str, Any] = read_document(folder.manifest).plain()
    now: Mapping[str, Any] = parse(dump_manifest(loaded.manifest.resolved()), "manifest").plain()
    changes = [*_differences(_without_phases(before), _without_phases(now))]
    refused = [key for key, _, _ in changes if not _is_free(key)]
    shown = {key: f"{key} (was {json.dumps(old)}, is {json.dumps(new)})" for key, old, new in changes}
    old_phases, new_phases = before["phases"], now["phases"]
    begun = next((i for i, phase in enumerate(old_phases) if phase["name"] == state.phase), len(old_phases) - 1) + 1
    for index in range(begun):
        old = old_phases[index]
        new = new_phases[index] if index < len(new_phases) else {}
        for key, was, value in _differences(old, new):
            name = f"phases.{old['name']}.{key}"
            shown[name] = f"{name} (was {json.dumps(was)}, is {json.dumps(value)})"
            if key not in _FREE_IN_PHASE and not (key in _LENGTH and index == begun - 1):
                refused.append(name)
    if refused:
        raise CheckpointError(
            f"{folder.path} was trained with another manifest: {', '.join(shown[key] for key in refused[:8])}",
            hint=f"go on with {folder.manifest}, or train into another folder with --run",
        )
    return bool(shown.keys() - {key for key in shown if key.split(".")[0] in ("data_root", "evaluation")}) or (
        old_phases != new_phases
    )


def _without_phases(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in manifest.items() if key != "phases"}


def _is_free(key: str) -> bool:
    words = key.split(".")
    return any(".".join(words[:count]) in _FREE for count in range(1, len(words) + 1))


def _differences(before: Any, now: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted paths of values that differ, with both."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*before, *now]):
            yield from _differences(before.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif before != now:
        yield path, before, now


def fingerprint(source: Source[Any]) -> SourceFingerprint:
    """Return what tells whether a source still holds the same records: their number, and a sample of them.

    Files of media are known by their names, so that data may move.
    """
    count = len(source)
    digest = hashlib.sha256()
    for index in sorted({round(place) for place in np.linspace(0, count - 1, min(count, _SAMPLE))}):
        try:
            record = source[index]
        except DataError:
            digest.update(b"broken")
            continue
        for text in _words(record):
            digest.update(text)
    return SourceFingerprint(source=source.config.source, records=count, sample=digest.hexdigest())


def _words(record: Record) -> Iterator[bytes]:
    for turn in record.turns:
        yield turn.role.encode()
        for part in turn.parts:
            match part:
                case Text(text):
                    yield text.encode("utf-8", "surrogatepass")
                case Media(modality, media):
                    yield modality.encode()
                    yield _content(media)
                case Target(head, value):
                    yield (head or "").encode()
                    yield _content(value)


def _content(value: Any) -> bytes:
    if isinstance(value, (Path, str)):
        return Path(value).name.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value).tobytes()
    return repr(value).encode("utf-8", "surrogateescape") if isinstance(value, (int, float, list, tuple)) else b""


def check_data(phase: str, before: Sequence[SourceFingerprint], sources: Iterable[Source[Any]]) -> None:
    """Compare the data of an interrupted phase with those that it began with.

    A changed number of records is an error, because the places of an epoch then mean other records; a changed sample
    is a warning, because a record may have been repaired.

    Raises:
        CheckpointError: A source holds more or fewer records, or there are other sources.
    """
    now = [fingerprint(source) for source in sources]
    if [(each.source, each.records) for each in before] != [(each.source, each.records) for each in now]:
        raise CheckpointError(
            f"the data of phase {phase} have changed since the checkpoint: {_listed(before)} then, {_listed(now)} now",
            hint="restore the data, or train into another folder with --run",
        )
    for old, new in zip(before, now, strict=True):
        if old != new:
            warnings.warn(
                f"records of a source '{new.source}' of phase {phase} have changed since the checkpoint", stacklevel=2
            )


def _listed(data: Iterable[SourceFingerprint]) -> str:
    return ", ".join(f"{each.records} records of {each.source}" for each in data) or "no source"


def warn_of_other_versions(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warn of what a run was made with and is not resumed with: versions of packages, plugins and kernels."""
    relevant = ("python", "packages", "plugin_api", "components", "kernels")
    picked = [{key: lock[key] for key in relevant if key in lock} for lock in (before, now)]
    if differences := compare_locks(*picked):
        warnings.warn(f"resumed with other versions than the run was made with: {'; '.join(differences)}", stacklevel=2)
