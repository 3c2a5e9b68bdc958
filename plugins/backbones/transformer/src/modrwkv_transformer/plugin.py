"""Registers the backbone; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the backbone ``transformer``."""
    return [
        ComponentSpec(
            api=1,
            kind="backbone",
            name="transformer",
            summary="Llama and Qwen of the transformers library, with a key-value cache as state",
            config="modrwkv_transformer.config:TransformerConfig",
            implementation="modrwkv_transformer.model:Transformer",
            paper="Attention Is All You Need, arXiv 1706.03762",
        )
    ]
