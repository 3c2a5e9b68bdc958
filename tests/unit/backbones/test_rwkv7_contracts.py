"""The contracts of a recurrent backbone. In float64, so that equal means equal."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_kernels import CuSeqlens
from torch import Tensor

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config, RWKV7State
from modrwkv_core.errors import ComponentError

TOKENS, WIDTH = 40, 16


@pytest.fixture(scope="module")
def model() -> RWKV7:
    torch.manual_seed(7)
    model = RWKV7(RWKV7Config(num_layers=2, hidden_size=WIDTH, head_dim=8), 32).double()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
    return model


def inputs(rows: int, tokens: int = TOKENS) -> Tensor:
    return torch.randn(rows, tokens, WIDTH, dtype=torch.float64)


def random_state(model: RWKV7, rows: int) -> RWKV7State:
    return model(inputs(rows, 3))[1]


def tensors_of(state: RWKV7State) -> tuple[Tensor, Tensor, Tensor]:
    return state.matrix, state.time_shift, state.channel_shift


def assert_equal(ours: tuple[Tensor, RWKV7State], expected: tuple[Tensor, RWKV7State]) -> None:
    pairs = zip((ours[0], *tensors_of(ours[1])), (expected[0], *tensors_of(expected[1])), strict=True)
    for mine, other in pairs:
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-10)


@given(cuts=st.sets(st.integers(1, TOKENS - 1), max_size=6))
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_any_chunking_equals_one_go(model: RWKV7, cuts: set[int]) -> None:
    x = inputs(2)
    parts, state = [], None
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), TOKENS], strict=True):
        hidden, state = model(x[:, start:end], state)
        parts.append(hidden)
    assert state is not None
    assert_equal((torch.cat(parts, 1), state), model(x))


@torch.no_grad()
def test_token_by_token_equals_one_go(model: RWKV7) -> None:
    x, state, parts = inputs(2), None, []
    for token in x.split(1, dim=1):
        hidden, state = model(token, state)
        parts.append(hidden)
    assert state is not None
    assert_equal((torch.cat(parts, 1), state), model(x))


@torch.no_grad()
def test_a_sequence_in_a_batch_equals_the_sequence_alone(model: RWKV7) -> None:
    x, state = inputs(3), random_state(model, 3)
    hidden, after = model(x, state)
    for row in range(3):
        alone = model(x[row : row + 1], state.select([row]))
        assert_equal((hidden[row : row + 1], after.select([row])), alone)


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=5), with_state=st.booleans())
@settings(max_examples=25, deadline=None)
@torch.no_grad()
def test_packed_equals_each_sequence_alone(model: RWKV7, lengths: list[int], with_state: bool) -> None:
    sequences = [inputs(1, length) for length in lengths]
    cu_seqlens = CuSeqlens.of(torch.tensor([0, *lengths]).cumsum(0))
    state = random_state(model, len(lengths)) if with_state else None
    alone = [
        model(sequence, None if state is None else state.select([index])) for index, sequence in enumerate(sequences)
    ]
    expected = torch.cat([hidden for hidden, _ in alone], 1), RWKV7State.stack([after for _, after in alone])
    assert_equal(model(torch.cat(sequences, 1), state, cu_seqlens), expected)


@pytest.mark.parametrize("bounds", [[0, 3, 8], [0, 1, 2, 8]])
def test_nothing_crosses_a_packing_boundary(model: RWKV7, bounds: list[int]) -> None:
    x = inputs(1, 8).requires_grad_()
    state = RWKV7State(*(t.detach().requires_grad_() for t in tensors_of(random_state(model, len(bounds) - 1))))
    hidden, after = model(x, state, CuSeqlens.of(bounds))
    last = hidden[0, bounds[-2] :].sum() + sum(tensor[:, -1].sum() for tensor in tensors_of(after))
    grads = torch.autograd.grad(last, (x, *tensors_of(state)))
    assert not grads[0][0, : bounds[-2]].any()
    assert grads[0][0, bounds[-2] :].any(dim=-1).all()
    for grad in grads[1:]:
        assert not grad[:, :-1].any()
        assert grad[:, -1].any()


@pytest.mark.parametrize("cut", [1, 20, TOKENS - 1])
def test_gradients_flow_through_the_state(model: RWKV7, cut: int) -> None:
    x = inputs(2).requires_grad_()
    whole = torch.autograd.grad(model(x)[0].square().sum(), x)[0]
    first, state = model(x[:, :cut])
    second, _ = model(x[:, cut:], state)
    split = torch.autograd.grad(first.square().sum() + second.square().sum(), x)[0]
    torch.testing.assert_close(split, whole, rtol=1e-9, atol=1e-10)


@torch.no_grad()
def test_the_given_state_is_never_written_to(model: RWKV7) -> None:
    state = random_state(model, 2)
    copy = state.fork()
    model(inputs(2), state)
    model(inputs(2, 1), state)
    model(inputs(1, 5), state, CuSeqlens.of([0, 2, 5]))
    for tensor, expected in zip(tensors_of(state), tensors_of(copy), strict=True):
        assert torch.equal(tensor, expected)


@torch.no_grad()
def test_no_state_means_the_initial_state(model: RWKV7) -> None:
    x = inputs(2)
    assert_equal(model(x, model.init_state(2)), model(x))


@pytest.mark.parametrize(
    ("shape", "state_rows", "bounds", "message"),
    [
        ((2, 4, WIDTH + 1), None, None, r"takes \[batch, tokens, 16\].* not \[2, 4, 17\]"),
        ((2, 0, WIDTH), None, None, "at least one token"),
        ((4, WIDTH), None, None, r"not \[4, 16\]"),
        ((2, 4, WIDTH), 3, None, r"\[2, 2, 2, 8, 8\], but is \[2, 3, 2, 8, 8\]"),
        ((1, 4, WIDTH), 1, [0, 2, 4], r"\[2, 2, 2, 8, 8\], but is \[2, 1, 2, 8, 8\]"),
        ((2, 4, WIDTH), None, [0, 2, 4], "need a batch size of 1, but it is 2"),
        ((1, 4, WIDTH), None, [0, 2, 5], "to the 4 tokens given, but rises to 5"),
        ((1, 4, WIDTH), None, [0], "rises to 0"),
        ((1, 4, WIDTH), None, [0, 2, 2, 4], r"at least one token each, but their lengths are \[2, 0, 2\]"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(
    model: RWKV7, shape: tuple[int, ...], state_rows: int | None, bounds: list[int] | None, message: str
) -> None:
    state = None if state_rows is None else model.init_state(state_rows)
    with pytest.raises(ComponentError, match=message):
        model(torch.zeros(shape).double(), state, None if bounds is None else CuSeqlens.of(bounds))


def test_bfloat16_parameters_keep_a_float32_state(make_model: Any) -> None:
    exact, rounded = make_model(dtype=torch.float32), make_model(dtype=torch.bfloat16)
    ids = torch.randint(0, 32, (2, 20))
    with torch.no_grad():
        expected, hidden = exact(exact.embed(ids))[0], rounded(rounded.embed(ids))
        step = rounded(rounded.embed(ids[:, :1]), hidden[1])
    assert hidden[0].dtype == step[0].dtype == torch.bfloat16
    assert hidden[1].matrix.dtype == step[1].matrix.dtype == torch.float32
    assert (hidden[0] - expected).norm() / expected.norm() < 0.05


def test_autocast_trains_float32_parameters(make_model: Any) -> None:
    model = make_model(dtype=torch.float32)
    ids = torch.randint(0, 32, (2, 20))
    expected = model(model.embed(ids))[0]
    with torch.autocast("cpu", torch.bfloat16):
        hidden, state = model(model.embed(ids))
        hidden, state = model(model.embed(ids[:, :1]), state)
        hidden, _ = model(model.embed(ids))
    assert state.matrix.dtype == torch.float32
    assert (hidden - expected).norm() / expected.norm() < 0.05
    hidden.float().square().sum().backward()
    assert all(
        p.grad is not None and p.grad.dtype == torch.float32 for n, p in model.named_parameters() if n != "head.weight"
    )
