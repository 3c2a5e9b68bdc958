from __future__ import annotations

from modrwkv_core.testing import CompressorContract


class TestPixelShuffle(CompressorContract):
    plugin = "modrwkv_pixel_shuffle.plugin"
    name = "pixel_shuffle"
    configs = ({}, {"factor": 1}, {"factor": 4}, {"order": "columns"})
