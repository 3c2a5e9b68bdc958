from __future__ import annotations

from modrwkv_core.testing import CompressorContract


class TestSquares(CompressorContract):
    plugin = "modrwkv_pixel_shuffle.plugin"
    name = "pixel_shuffle"
    configs = ({}, {"factor": 1}, {"factor": 4})
    lengths = (16, 64, 144)


class TestGrid(CompressorContract):
    plugin = "modrwkv_pixel_shuffle.plugin"
    name = "pixel_shuffle"
    configs = ({"grid": [6, 4]}, {"factor": 1, "grid": [1, 24]}, {"factor": 2, "grid": [12, 2]})
    lengths = (24,)
