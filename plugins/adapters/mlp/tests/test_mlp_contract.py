from __future__ import annotations

from modrwkv_core.testing import AdapterContract


class TestMLP(AdapterContract):
    plugin = "modrwkv_mlp.plugin"
    name = "mlp"
    configs = ({}, {"expansion": 2}, {"norm": False}, {"init": "matched"})
