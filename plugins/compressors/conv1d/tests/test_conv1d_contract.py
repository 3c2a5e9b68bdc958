from __future__ import annotations

from modrwkv_core.testing import CompressorContract


class TestConv1d(CompressorContract):
    plugin = "modrwkv_conv1d.plugin"
    name = "conv1d"
    configs = (
        {},
        {"kernel": 5, "stride": 4},
        {"padding": 2, "channels": 10, "bias": True},
        {"kernel": 16, "stride": 16},
    )
