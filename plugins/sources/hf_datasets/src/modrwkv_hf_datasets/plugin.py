"""Registers the source; imports nothing heavy."""

from __future__ import annotations

from modrwkv_core.plugin import ComponentSpec, hookimpl


@hookimpl
def modrwkv_components() -> list[ComponentSpec]:
    """Return the source ``hf_dataset``."""
    return [
        ComponentSpec(
            api=1,
            kind="source",
            name="hf_dataset",
            summary="Hugging Face datasets: local files, the Hub, and Parquet files streamed from anywhere",
            config="modrwkv_hf_datasets.config:HfDatasetConfig",
            implementation="modrwkv_hf_datasets.source:HfDatasetSource",
        )
    ]
