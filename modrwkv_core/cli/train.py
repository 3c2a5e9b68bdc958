"""``modrwkv train``: run the phases of a manifest."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--run", type=click.Path(path_type=Path), help="Folder of the run; by default runs/<name>.")
@click.option("--resume", is_flag=True, help="Go on from the run's newest checkpoint, if it has one.")
@click.option("--device", help="Where to train; by default a GPU if there is one.")
@click.option("--quiet", is_flag=True, help="Draw no progress bars.")
def train(
    manifest: Path, overrides: tuple[str, ...], run: Path | None, resume: bool, device: str | None, quiet: bool
) -> None:
    """Run the phases of MANIFEST.

    KEY=VALUE changes a value of the manifest, for example phases.align.lr=2e-4.
    """
    from modrwkv_core.manifest.load import load_manifest
    from modrwkv_core.manifest.wiring import check_wiring

    loaded = load_manifest(manifest, overrides)
    check_wiring(loaded)

    import torch

    from modrwkv_core.training.loop import train as run_phases

    run = run or Path("runs") / loaded.manifest.name
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    run_phases(loaded, run, resume=resume, device=device, progress_bar=not quiet)
    click.echo(f"trained: {run}")
    click.echo(f"next:    modrwkv evaluate {run}")
