"""What the README and the manifest's page show is valid, as far as it goes without downloads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modrwkv_core.manifest import load_manifest
from modrwkv_core.manifest.wiring import check_wiring
from modrwkv_core.registry.collect import collect

ROOT = Path(__file__).resolve().parents[2]
FROM_SCRATCH = ("backbone.weights=null", "backbone.num_layers=2", "backbone.hidden_size=64")


@pytest.mark.parametrize("page", ["README.md", "docs/reference/manifest.md"])
def test_the_example_is_a_manifest(page: str, blocks_of: Callable[[Path], list[Any]], tmp_path: Path) -> None:
    [example] = [block.content for block in blocks_of(ROOT / page) if block.language == "yaml"]
    (tmp_path / "manifest.yaml").write_text(example)
    loaded = load_manifest(tmp_path / "manifest.yaml", FROM_SCRATCH)
    assert {chain.modality for chain in check_wiring(loaded)} == set(loaded.manifest.modalities) != set()


def test_the_readmes_manifest_has_ten_lines(blocks_of: Callable[[Path], list[Any]]) -> None:
    [example] = [block.content for block in blocks_of(ROOT / "README.md") if block.language == "yaml"]
    assert len(example.splitlines()) == 10


def test_the_readmes_plugin_registers_an_encoder(blocks_of: Callable[[Path], list[Any]]) -> None:
    [source] = [block.content for block in blocks_of(ROOT / "README.md") if "@hookimpl" in block.content]
    module = ModuleType("my_lidar.plugin")
    exec(source, module.__dict__)
    registered: dict[str, Any] = {}
    for found in collect(module, None):
        registered |= found
    [spec] = registered["components"]
    assert (spec.kind, spec.name, spec.modality) == ("encoder", "lidar", "lidar")
