"""Registers the compressor; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the compressor ``conv2d``."""
    return [
        ComponentSpec(
            api=1,
            kind="compressor",
            name="conv2d",
            summary="a strided convolution over the grid",
            config="modrwkv_conv2d.config:Conv2dConfig",
            implementation="modrwkv_conv2d.compressor:Conv2dCompressor",
            paper="Honeybee, arXiv 2312.06742",
        )
    ]
