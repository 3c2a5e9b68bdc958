"""Decoding against the backbone's own forward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from modrwkv_kernels.capability import native_unavailable_reason
from torch import Tensor

from modrwkv_core.backbones.rwkv7 import RWKV7
from modrwkv_core.backbones.rwkv7.decoder import CompiledDecoder
from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.decoding import BackboneDecoder, Decoder

needs_compiler = pytest.mark.skipif(native_unavailable_reason() is not None, reason=str(native_unavailable_reason()))


def error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).norm() / theirs.norm()).item()


@torch.no_grad()
def worst_error(model: RWKV7, decoder: Decoder, rows: int) -> float:
    """Prefill, then compare logits over some steps, and the states after them."""
    ids = torch.randint(0, model.vocab_size, (rows, 16))
    _, state = model(model.embed(ids[:, :8]))
    worst = 0.0
    with decoder.start(state) as decoding:
        for column in range(8, 16):
            logits = decoding.step(ids[:, column])
            hidden, state = model(model.embed(ids[:, column : column + 1]), state)
            worst = max(worst, error(logits, model.logits(hidden[:, 0])))
        after = decoding.state()
    assert [x.dtype for x in after._tensors()] == [x.dtype for x in state._tensors()]
    return max(worst, *(error(x, y) for x, y in zip(after._tensors(), state._tensors(), strict=True)))


@needs_compiler
@pytest.mark.parametrize("weights", ["auto", "float32", "bfloat16"])
@pytest.mark.parametrize(("num_layers", "hidden_size", "head_dim"), [(3, 128, 64), (1, 64, 32), (2, 128, 128)])
@pytest.mark.parametrize("rows", [1, 5])
def test_equals_the_backbone(
    make_model: Any, weights: str, num_layers: int, hidden_size: int, head_dim: int, rows: int
) -> None:
    model = make_model(num_layers=num_layers, hidden_size=hidden_size, head_dim=head_dim, dtype=torch.float32)
    decoder = model.decoder(weights)
    assert isinstance(decoder, CompiledDecoder)
    assert worst_error(model, decoder, rows) < 1e-5


@needs_compiler
def test_int8_comes_near_the_backbone(make_model: Any) -> None:
    model = make_model(num_layers=2, hidden_size=128, head_dim=64, dtype=torch.float32)
    assert 1e-4 < worst_error(model, model.decoder("int8"), 2) < 5e-2


@needs_compiler
def test_auto_loses_nothing(make_model: Any) -> None:
    model = make_model(hidden_size=64, head_dim=32, dtype=torch.float32)
    assert "bfloat16" in model.decoder().name
    with torch.no_grad():
        model.blocks[1].ffn.key.weight[0, 0] += 1e-4
    assert "float32" in model.decoder().name
    assert worst_error(model, model.decoder(), 1) < 1e-5


@needs_compiler
@torch.no_grad()
def test_a_decoder_keeps_the_weights_it_was_made_of(make_model: Any) -> None:
    model = make_model(hidden_size=64, head_dim=32, dtype=torch.float32)
    state, token = model.init_state(1), torch.tensor([3])
    decoder = model.decoder()
    before = decoder.start(state).step(token)
    for block in model.blocks:
        block.att.key.weight.mul_(2)
    assert torch.equal(decoder.start(state).step(token), before)
    assert not torch.equal(model.decoder().start(state).step(token), before)


@needs_compiler
@torch.no_grad()
def test_decodings_are_independent_and_leave_their_state_alone(make_model: Any) -> None:
    model = make_model(hidden_size=64, head_dim=32, dtype=torch.float32)
    decoder, state = model.decoder(), model.init_state(1)
    first, second = decoder.start(state), decoder.start(state)
    expected = [first.step(torch.tensor([token])) for token in (1, 2)]
    found = [second.step(torch.tensor([token])) for token in (1, 2)]
    assert all(torch.equal(x, y) for x, y in zip(expected, found, strict=True))
    assert not state.matrix.any()
    copy = first.state()
    first.step(torch.tensor([3]))
    assert not torch.equal(first.state().matrix, copy.matrix)


@needs_compiler
def test_a_bfloat16_model_is_decoded_in_float32(make_model: Any) -> None:
    model = make_model(hidden_size=64, head_dim=32, dtype=torch.float32)
    rounded = make_model(hidden_size=64, head_dim=32, dtype=torch.bfloat16)
    token = torch.tensor([[5]])
    logits = rounded.decoder().start(rounded.init_state(1)).step(token[0])
    with torch.no_grad():
        assert error(logits, model.logits(model(model.embed(token))[0])[:, 0]) < 1e-5


@pytest.mark.parametrize(
    "options", [{"dtype": torch.float64, "head_dim": 32}, {"head_dim": 8}, {"head_dim": 32, "kernel": "torch"}]
)
def test_the_backbone_serves_where_nothing_was_compiled(make_model: Any, options: dict[str, Any]) -> None:
    model = make_model(hidden_size=64, **{"dtype": torch.float32} | options)
    decoder = model.decoder()
    assert isinstance(decoder, BackboneDecoder)
    assert worst_error(model, decoder, 2) == 0
    with pytest.raises(
        ComponentError, match=r"weights 'int8' are not supported here: decoding uses the backbone's forward"
    ):
        model.decoder("int8")


@needs_compiler
def test_unknown_ways_to_store_weights_are_refused(make_model: Any) -> None:
    with pytest.raises(ComponentError, match=r"weights cannot be stored as 'fp8'.*\n.*auto, float32, bfloat16, int8"):
        make_model(hidden_size=64, head_dim=32, dtype=torch.float32).decoder("fp8")
