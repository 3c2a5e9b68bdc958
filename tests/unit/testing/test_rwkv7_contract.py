from __future__ import annotations

from modrwkv_core.testing import BackboneContract


class TestRWKV7(BackboneContract):
    plugin = "modrwkv_core.builtin"
    name = "rwkv7"
    configs = ({"num_layers": 2, "hidden_size": 64}, {"num_layers": 3, "hidden_size": 128})
