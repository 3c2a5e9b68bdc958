"""Loading a manifest: layers, plugins, validation; and writing one that loads back."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from modrwkv_core.errors import ManifestError, PluginError
from modrwkv_core.interfaces.paths import local_path
from modrwkv_core.manifest.document import LocatedValue, dotted, mark, parse, read_document, write_yaml
from modrwkv_core.manifest.layers import apply_overrides, from_arguments, from_environment, located_path, merge
from modrwkv_core.manifest.problems import explain
from modrwkv_core.manifest.schema import Manifest, Plugins
from modrwkv_core.manifest.unions import Components
from modrwkv_core.plugin import ComponentSpec, Kind
from modrwkv_core.registry import Registry, discover
from modrwkv_core.registry.records import Entry

__all__ = ["LoadedManifest", "digest", "dump_manifest", "load_manifest", "manifest_from_dict"]

_FILE_SUFFIXES = (".yaml", ".yml", ".json")
_SWEEP_KEYS: Final = frozenset({"manifest", "parameters"})  # which every sweep has, and no manifest
_UNLOCKED: Final[Mapping[str, tuple[str, str]]] = {}


@dataclass(frozen=True, slots=True)
class LoadedManifest:
    """A valid manifest and what is known about it.

    Attributes:
        manifest: The manifest.
        provenance: Where each value that is not a default was written, by dotted path.
        folder: The manifest's folder, from which its relative paths are meant.
        registry: The plugins that it uses, with its preferences.
        components: The components that it names, by kind and name.
    """

    manifest: Manifest
    provenance: Mapping[str, str]
    folder: Path
    registry: Registry
    components: Mapping[tuple[Kind, str], Entry[ComponentSpec]]

    @property
    def digest(self) -> str:
        """The :func:`digest` of the resolved manifest: that of a run is the same as that of the file it began with."""
        return digest(self.manifest.resolved())


def load_manifest(
    path: Path | str,
    overrides: Iterable[str] = (),
    *,
    registry: Registry | None = None,
    environ: Mapping[str, str] = os.environ,
    locked: Mapping[str, tuple[str, str]] = _UNLOCKED,
) -> LoadedManifest:
    """Read the manifest in ``path`` with all its layers.

    Args:
        path: A YAML or JSON file.
        overrides: Arguments of the command line, ``key.key=value``.
        registry: Where to look for components; None discovers the installed plugins as the manifest's ``plugins``
            section wishes.
        environ: Environment variables.
        locked: Of a run: distribution and version of each component and modality by ``kind/name``, from its lock.
            The manifest's ``plugins.prefer`` wins over it.

    Raises:
        ManifestError: A file cannot be read or the manifest is not valid; each line of the message begins with the
            place and the dotted path.
    """
    path = Path(path)
    document = _mapping(read_document(path))
    layers = [*from_environment(environ), *from_arguments(overrides)]
    of_plugins = (layer for layer in layers if layer.words[0] == "plugins")
    presets = _Presets(apply_overrides(document, of_plugins), registry, locked)
    tree = apply_overrides(_extended(document, path.parent, presets, (str(path.resolve()),)), layers)
    return _validate(tree, path.parent.absolute(), registry, locked)


def manifest_from_dict(
    data: Mapping[str, Any], folder: Path | str = ".", *, registry: Registry | None = None, origin: str = "manifest"
) -> LoadedManifest:
    """Validate a manifest that is complete in itself, such as a run's; neither environment nor ``extends:`` add to it.

    Args:
        data: The manifest as plain values.
        folder: From where its relative paths are meant.
        registry: As in :func:`load_manifest`.
        origin: What to call it in messages.

    Raises:
        ManifestError: The manifest is not valid.
    """
    return _validate(_mapping(mark(data, origin)), Path(folder).absolute(), registry, _UNLOCKED)


def dump_manifest(manifest: Manifest) -> str:
    """Write ``manifest`` as YAML, with all defaults; it loads back equal, from any folder.

    Paths are absolute, but those of data are relative to the data root: where the data lie elsewhere, ``MODRWKV_DATA``
    or ``data_root=`` says so.
    """
    return write_yaml(_plain(manifest))


def digest(manifest: Manifest) -> str:
    """Return the SHA-256 of all that decides what a run becomes, as hexadecimal digits.

    Left out are ``data_root`` and ``evaluation``: where the data lie and how the result is evaluated change nothing.
    """
    said = {key: value for key, value in _plain(manifest).items() if key not in ("data_root", "evaluation")}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _plain(manifest: Manifest) -> dict[str, Any]:
    return manifest.model_dump(mode="json", context={"data_root": manifest.data_root})


class _Presets:
    """Finds presets; discovers plugins only when one is asked for."""

    def __init__(self, tree: LocatedValue, registry: Registry | None, locked: Mapping[str, tuple[str, str]]) -> None:
        self._tree = tree
        self._registry = registry
        self._locked = locked

    def read(self, name: str) -> LocatedValue:
        if self._registry is None:
            self._registry = _discover(_plugins(self._tree), self._locked)
        return parse(self._registry.preset_text(name), f"preset {name}")


def _extended(document: LocatedValue, folder: Path, presets: _Presets, readers: tuple[str, ...]) -> LocatedValue:
    """Lay ``document`` on what its ``extends:`` names; ``readers`` are the files that are being extended."""
    extends = document.content.get("extends")
    if extends is None:
        return document
    words = extends.content if isinstance(extends.content, list) else [extends]
    base = LocatedValue({}, document.origin)
    for word in words:
        if not isinstance(word.content, str):
            raise ManifestError(f"{word.origin}: extends: must be presets or files, not {word.content!r}")
        is_file = word.content.endswith(_FILE_SUFFIXES)
        try:
            path = folder / local_path(word.content)
            reader = str(path.resolve()) if is_file else word.content
            if reader in readers:
                raise ManifestError(f"'{word.content}' extends itself")
            below = _mapping(read_document(path) if is_file else presets.read(word.content))
        except (ManifestError, PluginError) as error:
            raise ManifestError(f"{word.origin}: extends: {error.message}", hint=error.hint) from error
        base = merge(base, _extended(below, path.parent if is_file else folder, presets, (*readers, reader)))
    own = {key: value for key, value in document.content.items() if key != "extends"}
    return merge(base, LocatedValue(own, document.origin))


def _mapping(document: LocatedValue) -> LocatedValue:
    if document.content is None:
        raise ManifestError(f"{document.origin}: the manifest is empty", hint="it begins with `modrwkv: 1`")
    if not isinstance(document.content, dict):
        kind = "list" if isinstance(document.content, list) else "single value"
        raise ManifestError(
            f"{document.origin}: a manifest is a mapping of keys to values, not a {kind}",
            hint="it begins with `modrwkv: 1`",
        )
    if document.content.keys() >= _SWEEP_KEYS:
        raise ManifestError(
            f"{document.origin}: this is the file of a sweep, not a manifest",
            hint="run `modrwkv sweep FILE`, or name the manifest whose settings the sweep compares",
        )
    return document


def _plugins(tree: LocatedValue) -> Plugins:
    section = tree.content.get("plugins", LocatedValue({}, tree.origin))
    try:
        return Plugins.model_validate(section.plain())
    except ValidationError as error:
        origins = {("plugins", *path): value.origin for path, value in section.walk()}
        raise explain(error, origins, below=("plugins",)) from error


def _discover(plugins: Plugins, locked: Mapping[str, tuple[str, str]]) -> Registry:
    return discover(allow=plugins.allow, disable=plugins.disable, prefer=plugins.prefer, locked=locked)


def _local_data_root(tree: LocatedValue) -> Path:
    written = tree.content.get("data_root")
    return Path() if written is None or not isinstance(written.content, str) else located_path(written, "data_root")


def _validate(
    tree: LocatedValue, folder: Path, registry: Registry | None, locked: Mapping[str, tuple[str, str]]
) -> LoadedManifest:
    plugins = _plugins(tree)
    components = Components(registry or _discover(plugins, locked))
    context = {
        "folder": folder,
        "data_root": folder / _local_data_root(tree),
        "components": components,
    }
    try:
        manifest = Manifest.model_validate(tree.plain(), context=context)
    except ValidationError as error:
        explained = explain(error, {path: value.origin for path, value in tree.walk()})
        raise explained from explained.__cause__
    if components.pinned:
        # What `type: distribution/name` decides is kept as a preference: sections then hold plain names.
        plugins = plugins.model_copy(update={"prefer": {**plugins.prefer, **components.pinned}})
        manifest = manifest.model_copy(update={"plugins": plugins})
    provenance = {dotted(path): value.origin for path, value in tree.walk() if path}
    provenance |= {f"plugins.prefer.{key}": f"type: {value}/..." for key, value in components.pinned.items()}
    return LoadedManifest(
        manifest=manifest,
        provenance=provenance,
        folder=folder,
        registry=_discover(plugins, locked) if components.pinned and registry is None else components.registry,
        components=components.used,
    )
