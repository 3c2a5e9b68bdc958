"""``modrwkv pull``: fetch a run from the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("repository", metavar="OWNER/NAME")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--revision", help="A branch, a tag or a commit; by default the main branch.")
def pull(repository: str, run: Path | None, revision: str | None) -> None:
    """Fetch the run OWNER/NAME from the Hugging Face Hub into the folder RUN, by default runs/NAME."""
    from modrwkv_core.interop.hub import pull as fetch

    run = run or Path("runs") / repository.rpartition("/")[2]
    fetch(repository, run, revision=revision)
    click.echo(f"pulled: {run}")
    click.echo(f"next:   modrwkv generate {run} PROMPT")
