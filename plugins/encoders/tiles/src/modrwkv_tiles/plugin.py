"""Registers the encoder; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the encoder ``tiles``."""
    return [
        ComponentSpec(
            api=1,
            kind="encoder",
            name="tiles",
            summary="pictures of any size and shape, tile by tile through any image encoder, with a thumbnail",
            config="modrwkv_tiles.config:TilesConfig",
            implementation="modrwkv_tiles.encoder:TilesEncoder",
            processor="modrwkv_tiles.processor:TilesProcessor",
            modality="image",
            paper="LLaVA-NeXT, 2024; Idefics3, arXiv 2408.12637",
        )
    ]
