"""Decoding in a pool of states, on Triton's interpreter, against the backbone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from modrwkv_core.backbones.rwkv7.graph_decoder import GraphDecoder
from modrwkv_core.errors import ComponentError


@pytest.mark.slow
def test_rows_that_come_and_go_equal_the_backbone_when_interpreted(run_check: Any) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    found = run_check("tests/unit/backbones/graph_decoder_check.py", "cpu", TRITON_INTERPRET="1")
    assert found == {"cases": 11 * 4 + 1, "beyond": {}}


def test_only_the_models_own_weights_are_offered(make_model: Any) -> None:
    model = make_model(dtype=torch.float32)
    with pytest.raises(ComponentError, match=r"weights cannot be stored as 'int8' on cpu.*\n.*the model is float32"):
        GraphDecoder(model, "int8")
    assert GraphDecoder(model, "float32").pool.states.batch_size == 1


def test_it_is_unavailable_for_a_model_on_the_cpu(make_model: Any) -> None:
    assert GraphDecoder.unavailable_reason(make_model(dtype=torch.float32)) == "it takes models on a GPU, not on cpu"


def test_padding_makes_room_for_a_row_that_joins(make_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(dtype=torch.float32)
    decoder = GraphDecoder(model, slots=4)
    with torch.no_grad():
        three, one = model.init_state(3), model.init_state(1)
    decoding = decoder.start(three)  # and one slot fills it up
    decoding.join(one)
    assert decoder.pool.states.batch_size == 4
    with monkeypatch.context() as broken:
        broken.setattr(decoder.pool, "put", lambda state: (_ for _ in ()).throw(MemoryError))
        decoding.keep([0, 1, 2])
        with pytest.raises(MemoryError):
            decoding.join(one)
    decoding.join(one)
    assert decoder.pool.states.batch_size == 4
