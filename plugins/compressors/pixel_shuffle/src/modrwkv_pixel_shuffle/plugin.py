"""Registers the compressor; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the compressor ``pixel_shuffle``."""
    return [
        ComponentSpec(
            api=1,
            kind="compressor",
            name="pixel_shuffle",
            summary="squares of neighbours in a grid side by side in one wider feature",
            config="modrwkv_pixel_shuffle.config:PixelShuffleConfig",
            implementation="modrwkv_pixel_shuffle.compressor:PixelShuffleCompressor",
            paper="InternVL 1.5, arXiv 2404.16821; Idefics3, arXiv 2408.12637",
        )
    ]
