"""Registers the compressor; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the compressor ``pool2d``."""
    return [
        ComponentSpec(
            api=1,
            kind="compressor",
            name="pool2d",
            summary="the mean over windows of the grid",
            config="modrwkv_pool2d.config:Pool2dConfig",
            implementation="modrwkv_pool2d.compressor:Pool2dCompressor",
            paper="DeCo, arXiv 2405.20985",
        )
    ]
