"""Registers the adapter; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the adapter ``linear``."""
    return [
        ComponentSpec(
            api=1,
            kind="adapter",
            name="linear",
            summary="one linear layer",
            config="modrwkv_linear.config:LinearConfig",
            implementation="modrwkv_linear.adapter:LinearAdapter",
            paper="Visual Instruction Tuning, arXiv 2304.08485, section 4.1",
        )
    ]
