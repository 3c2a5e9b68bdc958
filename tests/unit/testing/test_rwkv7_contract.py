from __future__ import annotations

from modrwkv_core.testing import BackboneContract


class TestRWKV7(BackboneContract):
    plugin = "modrwkv_core.builtin"
    name = "rwkv7"
    configs = ({"layers": 2, "width": 64}, {"layers": 3, "width": 128})
