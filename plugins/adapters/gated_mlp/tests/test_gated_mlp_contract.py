from __future__ import annotations

from modrwkv_core.testing import AdapterContract


class TestGatedMLP(AdapterContract):
    plugin = "modrwkv_gated_mlp.plugin"
    name = "gated_mlp"
    configs = ({}, {"expansion": 1})
