"""``modrwkv convert``: RWKV-7 weights from one layout into another, and pretrained models into runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from modrwkv_core.cli.options import checkpoint_option

if TYPE_CHECKING:
    from modrwkv_core.interop.backbone import Format


@click.command()
@click.argument("source")
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "form",
    type=click.Choice(("pth", "safetensors", "fla", "state")),
    help="Format of TARGET; by default what its suffix says, and fla for a folder. state writes the state that a run's "
    "conversations begin with, for `modrwkv generate --state`.",
)
@checkpoint_option
@click.option(
    "--manifest",
    type=click.Path(path_type=Path),
    help="SOURCE is a multimodal model in WorldRWKV's layout: make TARGET a run of it; the manifest names its encoder.",
)
@click.option("--modality", help="With --manifest: what SOURCE was trained with, if the manifest has several.")
def convert(
    source: str,
    target: Path,
    form: Format | Literal["state"] | None,
    checkpoint: str,
    manifest: Path | None,
    modality: str | None,
) -> None:
    """Rewrite the RWKV-7 weights of SOURCE as TARGET, bit for bit.

    SOURCE is a file of official weights (.pth, .bin, .safetensors), a run (its backbone, with low-rank updates
    merged into its weights), or a folder or model
    id in the layout of flash-linear-attention, in one file or in shards. TARGET ends in .pth or
    .safetensors, or is a folder for flash-linear-attention.
    """
    if manifest is not None:
        _import(source, target, form, manifest, modality)
        return
    if modality is not None:
        raise click.UsageError("--modality goes with --manifest")

    from modrwkv_core.interop.backbone import format_of, read_backbone, sizes_of, write_backbone, write_initial_state

    if form == "state":
        write_initial_state(source, target, checkpoint)
        click.echo(f"wrote {target}: the state that conversations begin with")
        return
    tensors = read_backbone(source, checkpoint)
    write_backbone(tensors, target, form or format_of(target))
    sizes = sizes_of(tensors, source)
    millions = sum(tensor.numel() for tensor in tensors.values()) / 1e6
    what = f"RWKV-7, {sizes.num_layers} layers of hidden size {sizes.hidden_size}, {millions:.1f} million parameters"
    click.echo(f"wrote {target}: {what}")


def _import(source: str, run: Path, form: str | None, manifest: Path, modality: str | None) -> None:
    if form is not None:
        raise click.UsageError("--to is for weights alone; with --manifest, TARGET becomes a run")

    from modrwkv_core.interop.importing import import_run

    loaded = import_run(source, manifest, run, modality=modality)
    backbone = loaded.manifest.backbone
    click.echo(f"imported: {run}, {backbone.type} of hidden size {backbone.in_dim}")
    click.echo(f"next:     modrwkv generate {run} PROMPT")
    click.echo(f"          modrwkv train {run / 'manifest.yaml'} --run {run} --resume")
