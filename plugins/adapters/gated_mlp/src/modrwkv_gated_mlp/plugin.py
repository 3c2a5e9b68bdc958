"""Registers the adapter; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the adapter ``gated_mlp``."""
    return [
        ComponentSpec(
            api=1,
            kind="adapter",
            name="gated_mlp",
            summary="RMS norm and SwiGLU",
            config="modrwkv_gated_mlp.config:GatedMLPConfig",
            implementation="modrwkv_gated_mlp.adapter:GatedMLPAdapter",
            paper="GLU Variants Improve Transformer, arXiv 2002.05202",
        )
    ]
