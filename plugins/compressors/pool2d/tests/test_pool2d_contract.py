from __future__ import annotations

from modrwkv_core.testing import CompressorContract


class TestPool2d(CompressorContract):
    plugin = "modrwkv_pool2d.plugin"
    name = "pool2d"
    configs = ({}, {"kernel": 5, "stride": 3}, {"kernel": 3, "stride": 5}, {"kernel": 64}, {"order": "cross"})
