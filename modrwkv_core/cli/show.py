"""``modrwkv show``: a manifest with all defaults, and where each value was written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click

_COMMENT_COLUMN = 60


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object: the manifest, and where its values were written."
)
def show(manifest: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print MANIFEST resolved, with where each value comes from.

    KEY=VALUE changes a value of the manifest, for example phases.align.lr=2e-4.
    """
    from modrwkv_core.manifest import dump_manifest, load_manifest
    from modrwkv_core.manifest.document import parse

    loaded = load_manifest(manifest, overrides)
    text = dump_manifest(loaded.manifest)
    if as_json:
        values = parse(text, "manifest").plain()
        click.echo(json.dumps({"manifest": values, "provenance": dict(loaded.provenance)}, indent=2))
    else:
        click.echo(_annotated(text, loaded.provenance))


def _annotated(text: str, provenance: Mapping[str, str]) -> str:
    """Comment each line that holds a value with the place where the value was written."""
    from modrwkv_core.manifest.document import dotted, parse

    lines = text.splitlines()
    width = min(_COMMENT_COLUMN, max(map(len, lines)))
    for path, value in parse(text, "").walk():
        if isinstance(value.content, dict | list) and value.content:
            continue
        line = int(value.origin.removeprefix(":")) - 1
        lines[line] = f"{lines[line]:<{width}}  # {provenance.get(dotted(path), 'default')}"
    return "\n".join(lines)
