"""Writes the tables of ``manifest.md`` from the manifest's sections; run it when they have changed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from modrwkv_core.manifest import schema

PAGE = Path(__file__).with_name("manifest.md")
TABLE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def refresh(page: str) -> str:
    """Return ``page`` with tables that fit the code."""
    return TABLE.sub(lambda match: f"{match[1]}{_table(getattr(schema, match[2]))}\n{match[3]}", page)


def _table(section: type[BaseModel]) -> str:
    properties = section.model_json_schema()["properties"]
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in section.model_fields.items():
        meaning = " ".join((field.description or "").replace("``", "`").split())
        rows.append(f"| `{key}` | {_value(properties[key])} | {_default(field)} | {meaning} |")
    return "\n".join(rows)


def _value(shape: dict[str, Any]) -> str:
    """Describe what a JSON Schema allows."""
    if "component" in shape:
        return f"{shape['component']} section"
    if "anyOf" in shape:
        return " or ".join(map(_value, shape["anyOf"]))
    if "enum" in shape or "const" in shape:
        return " or ".join(f"`{value}`" for value in shape.get("enum", [shape.get("const")]))
    if "prefixItems" in shape:
        return f"list of {len(shape['prefixItems'])}: {_value(shape['prefixItems'][0])}"
    match shape.get("type"):
        case "array":
            return f"list of {_value(shape['items'])}s"
        case "string":
            return "path" if shape.get("format") == "path" else "text"
        case "integer" | "number":
            bounds = [f"{words} {shape[bound]:g}" for bound, words in BOUNDS.items() if bound in shape]
            return ", ".join([shape["type"], *bounds])
        case "null":
            return "null"
    return "mapping"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "`{}`"
    written = str(value) if isinstance(value, str | Path) else json.dumps(value).replace('"', "")
    return f"`{written}`"


if __name__ == "__main__":
    PAGE.write_text(refresh(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
