"""``modrwkv push``: publish a run on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

import click

from modrwkv_core.cli.options import checkpoint_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("repository", metavar="OWNER/NAME")
@checkpoint_option
@click.option("--private", is_flag=True, help="If the repository is made now, only you may see it.")
def push(run: Path, repository: str, checkpoint: str, private: bool) -> None:
    """Publish RUN as the repository OWNER/NAME of the Hugging Face Hub, with a model card.

    What is published: manifest, lock, metrics, results and one checkpoint, without the optimizer's state.
    """
    from modrwkv_core.interop.hub import push as publish

    click.echo(f"pushed: {publish(run, repository, checkpoint=checkpoint, private=private)}")
