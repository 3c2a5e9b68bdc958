"""Registers the compressor; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the compressor ``none``."""
    return [
        ComponentSpec(
            api=1,
            kind="compressor",
            name="none",
            summary="features pass as they are",
            config="modrwkv_none.config:NoneConfig",
            implementation="modrwkv_none.compressor:NoneCompressor",
            paper="ModRWKV, arXiv 2505.14505, Table 7",
        )
    ]
