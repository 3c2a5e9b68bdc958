"""``modrwkv export``: a run's language model for other inference engines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from modrwkv_core.cli.options import checkpoint_option

if TYPE_CHECKING:
    from modrwkv_core.interop.exporting import Engine
    from modrwkv_core.interop.gguf import OutType


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "engine",
    type=click.Choice(("gguf", "hf")),
    required=True,
    help="gguf: a file for llama.cpp. hf: a folder for transformers with flash-linear-attention.",
)
@click.option(
    "--outtype",
    "out_type",
    type=click.Choice(("auto", "f32", "f16", "bf16", "q8_0")),
    default="auto",
    show_default=True,
    help="With --to gguf: type of the matrices. auto takes bf16 if it loses nothing, else f32.",
)
@checkpoint_option
def export(run: Path, target: Path, engine: Engine, out_type: OutType, checkpoint: str) -> None:
    """Write the language model of RUN as TARGET for another inference engine.

    The backbone is written, with LoRA merged into its weights, and for llama.cpp the vocabulary and the chat template.
    What the engine cannot run (encoders, adapters, other heads, a trained initial state) is left out and listed.
    """
    if engine != "gguf" and out_type != "auto":
        raise click.UsageError("--outtype goes with --to gguf")

    from modrwkv_core.interop.exporting import export_run

    exported = export_run(run, target, engine, checkpoint=checkpoint, out_type=out_type)
    click.echo(f"wrote {target}: {exported.summary}")
    for what in exported.left_out:
        click.echo(f"left out: {what}")
