"""Reading prompts, also in pieces as a CUDA graph does it, against the trunk's forward pass, on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modrwkv_core.backbones.rwkv7.graph_reader import GraphReader, graph_reader
from modrwkv_core.errors import ComponentError

WIDTH, PIECE = 16, 16


def assert_same(ours: Any, expected: Any) -> None:
    last, state = ours
    hidden, after = expected
    torch.testing.assert_close(last, hidden[:, -1], rtol=1e-9, atol=1e-12)
    for name in ("matrix", "time_shift", "channel_shift"):
        torch.testing.assert_close(getattr(state, name), getattr(after, name), rtol=1e-9, atol=1e-12)


@given(lengths=st.lists(st.integers(1, 3 * PIECE), min_size=1, max_size=3))
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@torch.no_grad()
def test_pieces_equal_the_whole(make_model: Any, lengths: list[int]) -> None:
    model = make_model(hidden_size=WIDTH)
    reader, state, expected = GraphReader(model, PIECE), model.init_state(1), None
    for length in lengths:
        x = torch.randn(1, length, WIDTH, dtype=torch.float64)
        hidden, expected = model(x, expected)
        last, state = reader(x, state)
        assert_same((last, state), (hidden, expected))


@torch.no_grad()
def test_what_is_left_of_a_former_prompt_does_not_matter(make_model: Any) -> None:
    model = make_model(hidden_size=WIDTH)
    reader = GraphReader(model, PIECE)
    reader(torch.full((1, PIECE, WIDTH), float("nan"), dtype=torch.float64), model.init_state(1))
    x = torch.randn(1, 3, WIDTH, dtype=torch.float64)
    assert_same(reader(x, model.init_state(1)), model(x))


def test_results_are_the_callers(make_model: Any) -> None:
    model = make_model(hidden_size=WIDTH)
    reader = GraphReader(model, PIECE)
    x = torch.randn(2, 1, 3, WIDTH, dtype=torch.float64)
    last, state = reader(x[0], model.init_state(1))
    kept = last.clone(), state.matrix.clone()
    reader(x[1], model.init_state(1))
    assert torch.equal(last, kept[0])
    assert torch.equal(state.matrix, kept[1])


def test_a_pass_is_recorded_for_the_second_prompt_and_again_where_weights_have_moved(make_model: Any) -> None:
    model = make_model(hidden_size=WIDTH)
    assert graph_reader(model) is None
    reader = graph_reader(model)
    assert reader is not None
    assert graph_reader(model) is reader
    model.head.weight.data = model.head.weight.data.clone()
    assert graph_reader(model) is None
    assert graph_reader(model) not in (None, reader)
    assert graph_reader(make_model(hidden_size=WIDTH)) is None


@torch.no_grad()
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("begun", [False, True], ids=["anew", "begun"])
@pytest.mark.parametrize("tokens", [1, 2, 9])
def test_the_trunk_reads_rows(make_model: Any, num_layers: int, begun: bool, tokens: int) -> None:
    model = make_model(num_layers=num_layers, hidden_size=WIDTH)
    x = torch.randn(2, tokens, WIDTH, dtype=torch.float64)
    state = model(torch.randn_like(x))[1] if begun else None
    assert_same(model.read(x, state), model(x, state))


@torch.no_grad()
@pytest.mark.parametrize("begun", [False, True], ids=["anew", "begun"])
def test_the_trunk_reads_packed_sequences(make_model: Any, begun: bool) -> None:
    model = make_model(hidden_size=WIDTH)
    cu_seqlens = torch.tensor([0, 1, 3, 9])
    x = torch.randn(1, 9, WIDTH, dtype=torch.float64)
    state = model(torch.randn(3, 4, WIDTH, dtype=torch.float64))[1] if begun else None
    hidden, after = model(x, state, cu_seqlens)
    assert_same(model.read(x, state, cu_seqlens), (hidden[0, [0, 2, 8]].unsqueeze(1), after))


@torch.no_grad()
@pytest.mark.parametrize("bounds", [None, [0, 1, 3, 9]], ids=["dense", "packed"])
def test_compiled_stages_read_the_same(make_model: Any, bounds: list[int] | None) -> None:
    model = make_model(hidden_size=64, head_dim=32, dtype=torch.float32)
    x = torch.randn(1, 9, 64)
    cu_seqlens = None if bounds is None else torch.tensor(bounds)
    hidden, after = model(x, cu_seqlens=cu_seqlens)
    last, state = model.read(x, cu_seqlens=cu_seqlens)
    torch.testing.assert_close(last, hidden[:, -1] if bounds is None else hidden[0, [0, 2, 8]], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state.channel_shift, after.channel_shift, rtol=1e-4, atol=1e-5)
    assert torch.equal(state.matrix, after.matrix)


def test_what_does_not_fit_is_refused(make_model: Any) -> None:
    model = make_model(hidden_size=WIDTH)
    with pytest.raises(ComponentError, match="with at least one token"):
        model.read(torch.zeros(1, 0, WIDTH, dtype=torch.float64))
    with pytest.raises(ComponentError, match="cu_seqlens must rise from 0 to the 3 tokens"):
        model.read(torch.zeros(1, 3, WIDTH, dtype=torch.float64), cu_seqlens=torch.tensor([0, 2]))
