from __future__ import annotations

from modrwkv_core.testing import CompressorContract


class TestPool(CompressorContract):
    plugin = "modrwkv_pool.plugin"
    name = "pool"
    configs = ({}, {"kernel": 5, "stride": 3}, {"kernel": 3, "stride": 5}, {"kernel": 64})
