from __future__ import annotations

import torch
from modrwkv_none.compressor import NoneCompressor
from modrwkv_none.config import NoneConfig

from modrwkv_core.interfaces.values import Features
from modrwkv_core.testing import CompressorContract


class TestNone(CompressorContract):
    plugin = "modrwkv_none.plugin"
    name = "none"


def test_features_pass_as_they_are_and_so_do_gradients() -> None:
    given = Features(torch.randn(2, 5, 3, requires_grad=True), torch.tensor([5, 0]))
    found = NoneCompressor(NoneConfig(), in_dim=3)(given)
    assert torch.equal(found.values, given.values)
    assert found.lengths.tolist() == [NoneConfig().out_length(5), NoneConfig().out_length(0)] == [5, 0]
    found.values.sum().backward()
    assert given.values.grad is not None
    assert given.values.grad.eq(1).all()
