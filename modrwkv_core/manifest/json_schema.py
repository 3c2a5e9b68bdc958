"""The manifest's JSON Schema, for editors: completion, documentation and red lines while one writes."""

from __future__ import annotations

import json
import warnings
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from modrwkv_core.errors import PluginError
from modrwkv_core.manifest.schema import Manifest
from modrwkv_core.manifest.unions import tag_key
from modrwkv_core.plugin import KINDS, ComponentSpec, Kind
from modrwkv_core.registry import Registry
from modrwkv_core.registry.records import Entry

__all__ = ["manifest_schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXTENDS = {
    "description": "Presets or files that this one is laid on.",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
}


def manifest_schema(registry: Registry) -> dict[str, Any]:
    """Return the schema of manifest files, with the components of all usable plugins.

    A component whose configuration class cannot be imported is left out, with a warning.
    """
    members = [(entry, model) for entry in registry.components() if (model := _config_class(registry, entry))]
    models: list[type[BaseModel]] = [Manifest, *(model for _, model in members)]
    references, generated = models_json_schema([(model, "validation") for model in dict.fromkeys(models)])
    definitions: dict[str, Any] = generated["$defs"]
    manifest = definitions.pop(_name(references[Manifest, "validation"]))
    manifest["properties"]["extends"] = _EXTENDS
    for entry, model in members:
        _narrow(definitions[_name(references[model, "validation"])], entry)
    for kind in KINDS:
        choices = dict.fromkeys(model for entry, model in members if entry.spec.kind == kind)
        definitions[kind] = {"anyOf": [references[model, "validation"] for model in choices]} if choices else False
    schema: dict[str, Any] = _with_references({"$schema": _DIALECT, **manifest, "$defs": definitions})
    text = json.dumps(schema)
    # The base classes of configurations stand for what the references above now say.
    schema["$defs"] = {name: value for name, value in schema["$defs"].items() if f'"#/$defs/{name}"' in text}
    return schema


def _config_class(registry: Registry, entry: Entry[ComponentSpec]) -> type[BaseModel] | None:
    try:
        model: type[BaseModel] = registry.config_class(entry.spec.kind, f"{entry.distribution}/{entry.spec.name}")
    except PluginError as error:
        warnings.warn(f"left out of the schema: {error.message} ({error.component})", stacklevel=3)
        return None
    return model


def _name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).removeprefix("#/$defs/")


def _narrow(definition: dict[str, Any], entry: Entry[ComponentSpec]) -> None:
    """Say which words name the component, and that one of them is needed."""
    key = tag_key(entry.spec.kind)
    discriminator = definition["properties"][key]
    names = discriminator.setdefault("enum", [])
    names += [entry.spec.name, *entry.spec.aliases, f"{entry.distribution}/{entry.spec.name}"]
    discriminator.pop("const", None)
    discriminator.pop("default", None)
    definition["required"] = sorted({key, *definition.get("required", [])})


def _with_references(node: Any) -> Any:
    """Replace what stands for any component of a kind by a reference to that kind's definition."""
    if isinstance(node, list):
        return [_with_references(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "component" in node:
        kind: Kind = node["component"]
        rest = {key: value for key, value in node.items() if key != "component"}
        return {**rest, "$ref": f"#/$defs/{kind}"}
    return {key: _with_references(value) for key, value in node.items()}
