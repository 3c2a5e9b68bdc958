"""Registers the compressor; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the compressor ``pool``."""
    return [
        ComponentSpec(
            api=1,
            kind="compressor",
            name="pool",
            summary="the mean over windows of the sequence",
            config="modrwkv_pool.config:PoolConfig",
            implementation="modrwkv_pool.compressor:PoolCompressor",
            paper="DeCo, arXiv 2405.20985",
        )
    ]
