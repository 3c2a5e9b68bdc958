from __future__ import annotations

from modrwkv_core.testing import AdapterContract


class TestResampler(AdapterContract):
    plugin = "modrwkv_resampler.plugin"
    name = "resampler"
    configs = ({"queries": 5, "num_heads": 4}, {"queries": 1, "num_layers": 1, "num_heads": 1, "expansion": 1})
