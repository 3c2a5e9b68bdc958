"""Every backend against the reference in float64: outputs, states and all gradients, on gentle and nasty inputs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_kernels import CuSeqlens, available_backends, explain_dispatch, wkv7
from torch.utils._python_dispatch import TorchDispatchMode

FLOAT64 = [("torch", 16), ("torch", 32), ("torch", 64)]
# Largest relative error of outputs and states, and of gradients, in float32.
FLOAT32 = [
    *(("torch", chunk_size, 2e-6, 5e-6) for chunk_size in (16, 32, 64)),
    *(("cpu", chunk_size, 1e-6, 1e-6) for chunk_size in (16, 32, 64)),
]
BOUNDS = CuSeqlens.of([0, 33, 33, 34, 130])


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
@pytest.mark.parametrize("backend", ["torch", "cpu"])
def test_half_precision_only_rounds_inputs_and_output(bench, backend, dtype):
    six = bench.inputs("easy", 2, 40, 2, 32, dtype=dtype)
    six[1] = six[1].float()
    state = bench.state(2, 2, 32, dtype=torch.float32)
    truth = bench.results([x.double() for x in six], state.double(), backend="reference")
    found = bench.results(six, state, backend=backend)
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
    bounds = CuSeqlens.of(torch.tensor([0, *lengths]).cumsum(0).to(index_dtype))
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


@given(
    lengths=st.lists(st.integers(0, 70), max_size=5),
    heads=st.integers(1, 3),
    size=st.sampled_from([32, 64, 128]),
    chunk_size=st.sampled_from([None, 16, 64]),
    index_dtype=st.sampled_from([torch.int32, torch.int64]),
)
@settings(max_examples=25, deadline=None)
def test_any_shape_on_cpu(bench, lengths, heads, size, chunk_size, index_dtype):
    six = bench.inputs("easy", 1, sum(lengths), heads, size, dtype=torch.float32)
    state = bench.state(len(lengths), heads, size, dtype=torch.float32)
    bounds = CuSeqlens.of(torch.tensor([0, *lengths]).cumsum(0).to(index_dtype))
    exact = [x.double() for x in six]
    truth = bench.results(exact, state.double(), backend="torch", cu_seqlens=bounds)
    found = bench.results(six, state, backend="cpu", chunk_size=chunk_size, cu_seqlens=bounds)
    for name, x, expected in zip(bench.names, found, truth, strict=True):
        assert x.shape == expected.shape, name
        assert bench.error(x, expected) < 1e-6, name


@pytest.mark.parametrize("backend", ["torch", "cpu"])
@pytest.mark.parametrize("pick", [0, 1], ids=["output", "final state"])
def test_gradient_through_one_output_alone(bench, backend, pick):
    six = [x.requires_grad_() for x in bench.inputs("easy", 1, 20, 1, 32, dtype=torch.float32)]

    def gradients(backend, six):
        outputs = wkv7(*six, output_state=True, backend=backend)
        return torch.autograd.grad(outputs[pick].square().sum(), six, materialize_grads=True)

    exact = [x.detach().double().requires_grad_() for x in six]
    for x, expected in zip(gradients(backend, six), gradients("reference", exact), strict=True):
        assert bench.error(x, expected) < 1e-6


@pytest.mark.parametrize("backend", ["torch", "cpu"])
def test_second_gradients_are_refused(bench, backend):
    six = [x.requires_grad_() for x in bench.inputs("easy", 1, 5, 1, 32, dtype=torch.float32)]
    gradient = torch.autograd.grad(wkv7(*six, backend=backend)[0].square().sum(), six[0], create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        (gradient.sum() + six[2].sum()).backward()


@pytest.mark.parametrize("op", ["wkv7_chunked", "wkv7_cpu"])
def test_ops_are_registered_correctly(bench, op):
    if op == "wkv7_cpu" and "cpu" not in available_backends():
        pytest.skip(explain_dispatch().reasons["cpu"])
    six = bench.inputs("easy", 1, 20, 1, 32, dtype=torch.float32)
    state = bench.state(2, 1, 32, dtype=torch.float32)
    bounds = torch.tensor([0, 3, 20])
    forward = getattr(torch.ops.modrwkv_kernels, op).default
    backward = getattr(torch.ops.modrwkv_kernels, f"{op}_backward").default
    torch.library.opcheck(forward, (*six, None, None, 16, False))
    y, final, chunk_states = forward(*six, state, bounds, 16, True)
    torch.library.opcheck(backward, (y, final, *six, chunk_states, bounds, 16))
    torch.library.opcheck(backward, (None, None, *six, chunk_states, bounds, 16))
    for x in (*six, state):
        x.requires_grad_()
    torch.library.opcheck(forward, (*six, state, bounds, 16, True))


@pytest.mark.parametrize("backend", ["torch", "cpu"])
def test_compiles_without_graph_break(bench, backend):
    six = [x.requires_grad_() for x in bench.inputs("easy", 1, 20, 1, 32, dtype=torch.float32)]
    torch._dynamo.reset()
    compiled = torch.compile(wkv7, fullgraph=True, backend="aot_eager")
    y, _ = compiled(*six, backend=backend)
    expected, _ = wkv7(*six, backend=backend)
    assert torch.equal(y, expected)
    gradients, truth = (torch.autograd.grad(x.square().sum(), six) for x in (y, expected))
    for x, expected in zip(gradients, truth, strict=True):
        assert torch.equal(x, expected)


@pytest.mark.parametrize(("backend", "op"), [("torch", "wkv7_chunked"), ("cpu", "wkv7_cpu")])
def test_modes_see_the_op_and_change_nothing(bench, backend, op):
    seen = set()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.add(function.name())
            return function(*args, **(kwargs or {}))

    def run():
        six = [x.requires_grad_() for x in bench.inputs("easy", 1, 20, 1, 32, dtype=torch.float32)]
        y, final = wkv7(*six, output_state=True, backend=backend)
        return y, final, *torch.autograd.grad(y.square().sum() + final.square().sum(), six)

    alone = run()
    with Watch():
        watched = run()
    assert {f"modrwkv_kernels::{op}", f"modrwkv_kernels::{op}_backward"} <= seen
    assert all(torch.equal(x, z) for x, z in zip(alone, watched, strict=True))
