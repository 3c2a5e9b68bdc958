"""Layers of a manifest: what is written later wins over what is written earlier.

The layers are, from the lowest: the files of ``extends:``, the file itself, environment variables
(``MODRWKV__PHASES__0__LR=2e-4``) and the arguments of the command line (``phases.0.lr=2e-4``). Mappings are merged key
by key, a mapping laid on a list changes the items that it names, everything else is replaced. Where a layer changes
what a section is (its ``type`` or ``source``), the old section's other keys are dropped with it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modrwkv_core.errors import ManifestError
from modrwkv_core.interfaces.paths import local_path
from modrwkv_core.manifest.document import KeyPath, LocatedValue, dotted, parse, read_document

__all__ = ["TAGS", "Override", "apply_overrides", "from_arguments", "from_environment", "located_path", "merge"]

TAGS = ("type", "source")
"""Keys that say what a section is, hence which other keys it may have."""

_PREFIX = "MODRWKV__"
_DATA_ROOT = "MODRWKV_DATA"


@dataclass(frozen=True, slots=True)
class Override:
    """One value that an environment variable or an argument sets.

    Attributes:
        words: The path to it; words that lead into a list are an index or the ``name`` of an item.
        value: What is set.
        origin: The layer, for messages.
    """

    words: tuple[str, ...]
    value: LocatedValue
    origin: str


def merge(base: LocatedValue, over: LocatedValue, path: KeyPath = ()) -> LocatedValue:
    """Return ``base`` with ``over`` laid on it; neither is changed.

    Args:
        base: The lower layer.
        over: The upper layer.
        path: Where both are, for messages.

    Raises:
        ManifestError: ``over`` names an item that a list does not have.
    """
    if isinstance(base.content, list) and isinstance(over.content, dict):
        items = list(base.content)
        for word, value in over.content.items():
            index = _index(items, str(word), value.origin, path)
            items[index] = merge(items[index], value, (*path, index))
        return LocatedValue(items, over.origin)
    if not (isinstance(base.content, dict) and isinstance(over.content, dict)) or _changes_tag(base, over):
        return over
    content = dict(base.content)
    for key, value in over.content.items():
        content[key] = merge(content[key], value, (*path, key)) if key in content else value
    return LocatedValue(content, over.origin)


def from_environment(environ: Mapping[str, str]) -> list[Override]:
    """Return the overrides of the environment; ``MODRWKV_DATA`` is short for ``MODRWKV__DATA_ROOT``."""
    overrides = []
    if environ.get(_DATA_ROOT):
        overrides.append(_override("data_root", environ[_DATA_ROOT], f"environment variable {_DATA_ROOT}"))
    for name in sorted(environ):
        if name.startswith(_PREFIX):
            key = name.removeprefix(_PREFIX).lower().replace("__", ".")
            overrides.append(_override(key, environ[name], f"environment variable {name}"))
    return overrides


def from_arguments(arguments: Iterable[str]) -> list[Override]:
    """Return the overrides of a command line.

    Raises:
        ManifestError: An argument is not of the form ``key=value``, or its value cannot be read.
    """
    overrides = []
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals:
            raise ManifestError(
                f"command line: '{argument}' is not of the form key=value",
                hint="for example phases.0.lr=2e-4, or data.train=@sources.yaml",
            )
        overrides.append(_override(key, text, "command line"))
    return overrides


def apply_overrides(tree: LocatedValue, overrides: Iterable[Override]) -> LocatedValue:
    """Return ``tree`` with ``overrides``, in their order but those of a ``type`` first, since they drop other keys.

    Raises:
        ManifestError: A path leads into something that has no such item.
    """
    for override in sorted(overrides, key=lambda override: override.words[-1] not in TAGS):
        tree = _assign(tree, override, ())
    return tree


def located_path(written: LocatedValue, key: str) -> Path:
    """Return the path that is written under ``key``, with ``~`` expanded.

    Raises:
        ManifestError: No file can have this path; the message begins with the place.
    """
    try:
        return local_path(written.content)
    except ManifestError as error:
        raise ManifestError(f"{written.origin}: {key}: {error.message}", hint=error.hint) from error


def _override(key: str, text: str, origin: str) -> Override:
    words = tuple(key.split("."))
    if not all(words):
        raise ManifestError(f"{origin}: '{key}' is not a dotted path", hint="for example phases.0.lr")
    if text.startswith("@"):
        return Override(words, read_document(located_path(LocatedValue(text[1:], origin), key)), origin)
    value = parse(text, origin, lines=False)
    if words == ("data_root",) and isinstance(value.content, str):
        # Typed in a shell, a relative path is resolved against where the shell stands, not from the manifest's folder.
        value = LocatedValue(str(located_path(value, "data_root").absolute()), origin)
    return Override(words, value, origin)


def _tag(section: LocatedValue, key: str) -> Any:
    """What a section is, without the distribution that it may name (``type: distribution/name``)."""
    value = section.content[key].content
    return value.rpartition("/")[2] if isinstance(value, str) else value


def _changes_tag(base: LocatedValue, over: LocatedValue) -> bool:
    return any(key in base.content and key in over.content and _tag(base, key) != _tag(over, key) for key in TAGS)


def _assign(node: LocatedValue, override: Override, path: KeyPath) -> LocatedValue:
    depth = len(path)
    if depth == len(override.words):
        return merge(node, override.value, path)
    word = override.words[depth]
    if isinstance(node.content, list):
        index = _index(node.content, word, override.origin, path)
        items = list(node.content)
        items[index] = _assign(items[index], override, (*path, index))
        return LocatedValue(items, node.origin)
    if isinstance(node.content, dict) or node.content is None:
        entries = node.content or {}
        below = entries.get(word, LocatedValue(None, override.origin))
        entry = LocatedValue({word: _assign(below, override, (*path, word))}, node.origin)
        return merge(LocatedValue(entries, node.origin), entry, path)
    raise ManifestError(f"{override.origin}: {dotted(path)} is {node.content!r}, which has no key '{word}'")


def _index(items: list[LocatedValue], word: str, origin: str, path: KeyPath) -> int:
    names = {
        item.content["name"].content: index
        for index, item in enumerate(items)
        if isinstance(item.content, dict) and "name" in item.content and isinstance(item.content["name"].content, str)
    }
    if word in names:
        return names[word]
    if word.isdecimal() and int(word) < len(items):
        return int(word)
    known = ", ".join(names or map(str, range(len(items))))
    close = difflib.get_close_matches(word, names, n=1)
    raise ManifestError(
        f"{origin}: {dotted(path)} has no item '{word}'",
        hint=f"did you mean '{close[0]}'?" if close else f"its items: {known}" if known else "it is empty",
    )
