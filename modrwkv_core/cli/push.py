"""``modrwkv push``: publish a run on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("repository", metavar="OWNER/NAME")
@click.option("--private", is_flag=True, help="If the repository is made now, only you may see it.")
def push(run: Path, repository: str, private: bool) -> None:
    """Publish RUN as the repository OWNER/NAME of the Hugging Face Hub, with a model card.

    What is published: manifest, lock, metrics, results and the newest checkpoint, without the optimizer's state.
    """
    from modrwkv_core.interop.hub import push as publish

    click.echo(f"pushed: {publish(run, repository, private=private)}")
