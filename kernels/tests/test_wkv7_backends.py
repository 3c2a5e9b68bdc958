"""Every backend against the reference in float64: outputs, states and all gradients, on gentle and nasty inputs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_kernels import wkv7

FLOAT64 = [("torch", 16), ("torch", 32), ("torch", 64)]
# Largest relative error of outputs and states, and of gradients, in float32.
FLOAT32 = [("torch", 16, 2e-6, 5e-6), ("torch", 32, 2e-6, 5e-6), ("torch", 64, 2e-6, 5e-6)]
BOUNDS = torch.tensor([0, 33, 33, 34, 130])


@pytest.mark.parametrize("kind", ["easy", "correlated keys", "strongest decay", "no decay"])
@pytest.mark.parametrize("cu_seqlens", [None, BOUNDS], ids=["dense", "packed"])
@pytest.mark.parametrize(("backend", "chunk_size"), FLOAT64)
def test_float64_equals_the_reference(bench, backend, chunk_size, cu_seqlens, kind):
    six = bench.inputs(kind, 1, 130, 2, 16)
    state = bench.state(1 if cu_seqlens is None else 4, 2, 16)
    truth = bench.results(six, state, backend="reference", cu_seqlens=cu_seqlens)
    found = bench.results(six, state, backend=backend, chunk_size=chunk_size, cu_seqlens=cu_seqlens)
    for name, x, expected in zip(bench.names, found, truth, strict=True):
        assert bench.error(x, expected) < 1e-13, name


@pytest.mark.parametrize("kind", ["easy", "correlated keys", "strongest decay", "no decay"])
@pytest.mark.parametrize("cu_seqlens", [None, BOUNDS], ids=["dense", "packed"])
@pytest.mark.parametrize(("backend", "chunk_size", "bar", "gradient_bar"), FLOAT32)
def test_float32_stays_within_the_bars(bench, backend, chunk_size, bar, gradient_bar, cu_seqlens, kind):
    six = bench.inputs(kind, 1, 130, 2, 64, dtype=torch.float32)
    state = bench.state(1 if cu_seqlens is None else 4, 2, 64, dtype=torch.float32)
    exact = [x.double() for x in six]
    truth = bench.results(exact, state.double(), backend="reference", cu_seqlens=cu_seqlens)
    found = bench.results(six, state, backend=backend, chunk_size=chunk_size, cu_seqlens=cu_seqlens)
    for name, x, expected in zip(bench.names, found, truth, strict=True):
        assert bench.error(x, expected) < (gradient_bar if name.startswith("d") else bar), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_only_rounds_inputs_and_output(bench, dtype):
    six = bench.inputs("easy", 2, 40, 2, 16, dtype=dtype)
    six[1] = six[1].float()
    state = bench.state(2, 2, 16, dtype=torch.float32)
    truth = bench.results([x.double() for x in six], state.double(), backend="reference")
    found = bench.results(six, state, backend="torch")
    assert [x.dtype for x in found] == [dtype, torch.float32, dtype, torch.float32, *[dtype] * 4, torch.float32]
    assert bench.error(found[1], truth[1]) < 2e-6
    for name, x, expected in zip(bench.names, found, truth, strict=True):
        assert bench.error(x, expected) < torch.finfo(dtype).eps, name


@given(
    lengths=st.lists(st.integers(0, 50), max_size=5),
    heads=st.integers(1, 3),
    size=st.integers(1, 9),
    chunk_size=st.sampled_from([None, 16, 32]),
    index_dtype=st.sampled_from([torch.int32, torch.int64]),
)
@settings(max_examples=25, deadline=None)
def test_any_shape_packed(bench, lengths, heads, size, chunk_size, index_dtype):
    six = bench.inputs("easy", 1, sum(lengths), heads, size)
    state = bench.state(len(lengths), heads, size)
    bounds = torch.tensor([0, *lengths]).cumsum(0).to(index_dtype)
    truth = bench.results(six, state, backend="reference", cu_seqlens=bounds)
    found = bench.results(six, state, backend="torch", chunk_size=chunk_size, cu_seqlens=bounds)
    for name, x, expected in zip(bench.names, found, truth, strict=True):
        assert x.shape == expected.shape, name
        assert bench.error(x, expected) < 1e-13, name


@given(batch=st.integers(0, 3), tokens=st.integers(0, 70), heads=st.integers(1, 3), size=st.integers(1, 9))
@settings(max_examples=15, deadline=None)
def test_any_shape_dense(bench, batch, tokens, heads, size):
    six = bench.inputs("easy", batch, tokens, heads, size)
    state = bench.state(batch, heads, size)
    truth = bench.results(six, state, backend="reference")
    found = bench.results(six, state, backend="torch")
    for name, x, expected in zip(bench.names, found, truth, strict=True):
        assert x.shape == expected.shape, name
        assert bench.error(x, expected) < 1e-13, name


def test_gradient_through_one_output_alone(bench):
    six = [x.requires_grad_() for x in bench.inputs("easy", 1, 20, 1, 8)]

    def gradients(backend, pick):
        outputs = wkv7(*six, output_state=True, backend=backend)
        return torch.autograd.grad(outputs[pick].square().sum(), six, allow_unused=True, materialize_grads=True)

    for pick in (0, 1):
        for x, expected in zip(gradients("torch", pick), gradients("reference", pick), strict=True):
            assert bench.error(x, expected) < 1e-13


def test_ops_are_registered_correctly(bench):
    six = [x.requires_grad_() for x in bench.inputs("easy", 1, 20, 1, 8)]
    state = bench.state(2, 1, 8).requires_grad_()
    bounds = torch.tensor([0, 3, 20])
    op = torch.ops.modrwkv_kernels.wkv7_chunked.default
    torch.library.opcheck(op, (*six, state, bounds, 16, True))
    torch.library.opcheck(op, (*six, None, None, 16, True))
    torch.library.opcheck(op, (*(x.detach() for x in six), None, None, 16, False))


def test_compiles_without_graph_break(bench):
    six = bench.inputs("easy", 1, 20, 1, 8)
    torch._dynamo.reset()
    compiled = torch.compile(wkv7, fullgraph=True, backend="aot_eager")
    y, _ = compiled(*six, backend="torch")
    torch.testing.assert_close(y, wkv7(*six, backend="torch")[0])
