from __future__ import annotations

from modrwkv_core.testing import CompressorContract


class TestConv2d(CompressorContract):
    plugin = "modrwkv_conv2d.plugin"
    name = "conv2d"
    configs = (
        {},
        {"kernel": 2, "padding": 0, "order": "snake"},
        {"padding": 2, "channels": 10, "bias": True},
        {"kernel": 4, "stride": 4, "padding": 0},
    )
