"""Prefill of prompts, also in chunks as a CUDA graph does it, against the backbone's forward pass, on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from modrwkv_kernels import CuSeqlens

from modrwkv_core.backbones.rwkv7.prefill_graph import PrefillGraph, prefill_graph
from modrwkv_core.errors import ComponentError

WIDTH, CHUNK = 16, 16


def assert_same(ours: Any, expected: Any) -> None:
    last, state = ours
    hidden, after = expected
    torch.testing.assert_close(last, hidden[:, -1], rtol=1e-9, atol=1e-12)
    for name in ("matrix", "time_shift", "channel_shift"):
        torch.testing.assert_close(getattr(state, name), getattr(after, name), rtol=1e-9, atol=1e-12)


@given(lengths=st.lists(st.integers(1, 3 * CHUNK), min_size=1, max_size=3))
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@torch.no_grad()
def test_chunks_equal_the_whole(make_model: Any, lengths: list[int]) -> None:
    model = make_model(hidden_size=WIDTH)
    graph, state, expected = PrefillGraph(model, CHUNK), model.init_state(1), None
    for length in lengths:
        x = torch.randn(1, length, WIDTH, dtype=torch.float64)
        hidden, expected = model(x, expected)
        last, state = graph(x, state)
        assert_same((last, state), (hidden, expected))


@torch.no_grad()
def test_what_is_left_of_a_former_prompt_does_not_matter(make_model: Any) -> None:
    model = make_model(hidden_size=WIDTH)
    graph = PrefillGraph(model, CHUNK)
    graph(torch.full((1, CHUNK, WIDTH), float("nan"), dtype=torch.float64), model.init_state(1))
    x = torch.randn(1, 3, WIDTH, dtype=torch.float64)
    assert_same(graph(x, model.init_state(1)), model(x))


def test_results_are_the_callers(make_model: Any) -> None:
    model = make_model(hidden_size=WIDTH)
    graph = PrefillGraph(model, CHUNK)
    x = torch.randn(2, 1, 3, WIDTH, dtype=torch.float64)
    last, state = graph(x[0], model.init_state(1))
    copies = last.clone(), state.matrix.clone()
    graph(x[1], model.init_state(1))
    assert torch.equal(last, copies[0])
    assert torch.equal(state.matrix, copies[1])


def test_a_pass_is_captured_for_the_second_prompt_and_again_where_weights_have_moved(make_model: Any) -> None:
    model = make_model(hidden_size=WIDTH)
    assert prefill_graph(model) is None
    graph = prefill_graph(model)
    assert graph is not None
    assert prefill_graph(model) is graph
    model.head.weight.data = model.head.weight.data.clone()
    assert prefill_graph(model) is None
    assert prefill_graph(model) not in (None, graph)
    assert prefill_graph(make_model(hidden_size=WIDTH)) is None


@torch.no_grad()
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("begun", [False, True], ids=["anew", "begun"])
@pytest.mark.parametrize("tokens", [1, 2, 9])
def test_the_backbone_prefills_a_batch(make_model: Any, num_layers: int, begun: bool, tokens: int) -> None:
    model = make_model(num_layers=num_layers, hidden_size=WIDTH)
    x = torch.randn(2, tokens, WIDTH, dtype=torch.float64)
    state = model(torch.randn_like(x))[1] if begun else None
    assert_same(model.prefill(x, state), model(x, state))


@torch.no_grad()
@pytest.mark.parametrize("begun", [False, True], ids=["anew", "begun"])
def test_the_backbone_prefills_packed_sequences(make_model: Any, begun: bool) -> None:
    model = make_model(hidden_size=WIDTH)
    cu_seqlens = CuSeqlens.of([0, 1, 3, 9])
    x = torch.randn(1, 9, WIDTH, dtype=torch.float64)
    state = model(torch.randn(3, 4, WIDTH, dtype=torch.float64))[1] if begun else None
    hidden, after = model(x, state, cu_seqlens)
    assert_same(model.prefill(x, state, cu_seqlens), (hidden[0, [0, 2, 8]].unsqueeze(1), after))


@torch.no_grad()
@pytest.mark.parametrize("bounds", [None, [0, 1, 3, 9]], ids=["dense", "packed"])
def test_compiled_stages_prefill_the_same(make_model: Any, bounds: list[int] | None) -> None:
    model = make_model(hidden_size=64, head_dim=32, dtype=torch.float32)
    x = torch.randn(1, 9, 64)
    cu_seqlens = None if bounds is None else CuSeqlens.of(bounds)
    hidden, after = model(x, cu_seqlens=cu_seqlens)
    last, state = model.prefill(x, cu_seqlens=cu_seqlens)
    torch.testing.assert_close(last, hidden[:, -1] if bounds is None else hidden[0, [0, 2, 8]], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state.channel_shift, after.channel_shift, rtol=1e-4, atol=1e-5)
    assert torch.equal(state.matrix, after.matrix)


def test_what_does_not_fit_is_refused(make_model: Any) -> None:
    model = make_model(hidden_size=WIDTH)
    with pytest.raises(ComponentError, match="with at least one token"):
        model.prefill(torch.zeros(1, 0, WIDTH, dtype=torch.float64))
    with pytest.raises(ComponentError, match="cu_seqlens must rise from 0 to the 3 tokens"):
        model.prefill(torch.zeros(1, 3, WIDTH, dtype=torch.float64), cu_seqlens=CuSeqlens.of([0, 2]))
