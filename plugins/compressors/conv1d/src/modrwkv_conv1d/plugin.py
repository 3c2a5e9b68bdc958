"""Registers the compressor; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the compressor ``conv1d``."""
    return [
        ComponentSpec(
            api=1,
            kind="compressor",
            name="conv1d",
            summary="a strided convolution over the sequence",
            config="modrwkv_conv1d.config:Conv1dConfig",
            implementation="modrwkv_conv1d.compressor:Conv1dCompressor",
            paper="ModRWKV, arXiv 2505.14505, section 3",
        )
    ]
