"""``modrwkv schema``: the manifest's JSON Schema for editors."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write here instead of to the standard output.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of manifests, with the components of all installed plugins.

    A manifest whose first line is "# yaml-language-server: $schema=FILE" is then completed and checked by editors.
    """
    from modrwkv_core.manifest.json_schema import manifest_schema
    from modrwkv_core.registry import discover
    from modrwkv_core.storage.files import write_text

    text = json.dumps(manifest_schema(discover()), indent=2)
    if output is None:
        click.echo(text)
        return
    write_text(output, text + "\n")
    click.echo(f"wrote {output}")
