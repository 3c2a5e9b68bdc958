"""``modrwkv check``: is a manifest valid, and do its components fit?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from modrwkv_core.manifest import LoadedManifest
    from modrwkv_core.manifest.wiring import ModalityShapes


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def check(manifest: Path, overrides: tuple[str, ...]) -> None:
    """Validate MANIFEST and its wiring, without weights.

    Prints how each modality's items become tokens, as [vectors, width] after each component, and what each phase
    trains. KEY=VALUE changes a value of the manifest, for example phases.align.lr=2e-4.
    """
    from modrwkv_core.manifest import load_manifest
    from modrwkv_core.manifest.wiring import check_wiring

    loaded = load_manifest(manifest, overrides)
    for chain in check_wiring(loaded):
        click.echo("\n".join(_describe_chain(chain)))
        if augmentations := loaded.manifest.modalities[chain.modality].augmentations:
            click.echo(f"  in training: {', '.join(config.type for config in augmentations)}")
    click.echo("\n".join(_describe_rest(loaded)))
    click.echo(f"{manifest} is valid")


def _describe_chain(chain: ModalityShapes) -> Iterator[str]:
    yield chain.modality
    for index, item in enumerate(chain.items):
        steps = [f"{link.name} [{link.lengths[index]}, {link.hidden_size}]" for link in chain.links]
        tokens = chain.links[-1].lengths[index]
        yield f"  item of {item} -> {' -> '.join(steps)} -> {tokens} tokens"


def _describe_rest(loaded: LoadedManifest) -> Iterator[str]:
    from modrwkv_core.interfaces.config import QueryHeadConfig, TranscriptHeadConfig

    manifest = loaded.manifest
    yield f"tokenizer\n  {manifest.tokenizer.type}, {manifest.tokenizer.vocab_size} ids"
    yield f"backbone\n  {manifest.backbone.type}, hidden size {manifest.backbone.in_dim}"
    yield "heads"
    for name, head in manifest.heads.items():
        asked = f", answers queries about {head.modality}" if isinstance(head, QueryHeadConfig) else ""
        asked = f", transcribes {head.modality}" if isinstance(head, TranscriptHeadConfig) else asked
        yield f"  {name}: {head.type}{asked}"
    yield "phases"
    for phase in manifest.phases:
        length = f"epochs: {phase.epochs}" if phase.epochs is not None else f"steps: {phase.steps}"
        yield f"  {phase.name}: {length}, lr: {phase.lr:g}, trains {', '.join(manifest.select(phase.train))}"
