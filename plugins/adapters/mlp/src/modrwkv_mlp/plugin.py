"""Registers the adapter; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the adapter ``mlp``."""
    return [
        ComponentSpec(
            api=1,
            kind="adapter",
            name="mlp",
            summary="Linear, ReLU, Linear, plus the layer norm of the result",
            config="modrwkv_mlp.config:MLPConfig",
            implementation="modrwkv_mlp.adapter:MLPAdapter",
            paper="ModRWKV, arXiv 2505.14505, section 4.1",
        )
    ]
