"""What a recurrence owes its callers, for every backend."""

import itertools

import pytest
import torch
from modrwkv_kernels import CuSeqlens, wkv7, wkv7_step

BACKENDS = ["reference", "torch", "cpu"]
BAR = 1e-6


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def test_packed_equals_each_sequence_alone(bench, backend):
    lengths = [5, 0, 40, 1, 17]
    six = bench.inputs("easy", 1, sum(lengths), 2, 64, dtype=torch.float32)
    state = bench.state(len(lengths), 2, 64, dtype=torch.float32)
    bounds = [0, *itertools.accumulate(lengths)]
    y, final = wkv7(*six, state=state, cu_seqlens=CuSeqlens.of(bounds), output_state=True, backend=backend)
    for i, (start, end) in enumerate(itertools.pairwise(bounds)):
        alone = [x[:, start:end] for x in six]
        y_alone, final_alone = wkv7(*alone, state=state[i : i + 1], output_state=True, backend=backend)
        assert bench.error(y[:, start:end], y_alone) < 1e-7
        assert bench.error(final[i : i + 1], final_alone) < 1e-7


@pytest.mark.parametrize("cut", [1, 16, 37, 63])
def test_carried_state_equals_a_single_pass(bench, backend, cut):
    six = bench.inputs("correlated keys", 2, 64, 2, 64, dtype=torch.float32)
    y, final = wkv7(*six, output_state=True, backend=backend)
    y_head, middle = wkv7(*(x[:, :cut] for x in six), output_state=True, backend=backend)
    y_tail, end = wkv7(*(x[:, cut:] for x in six), state=middle, output_state=True, backend=backend)
    assert bench.error(torch.cat((y_head, y_tail), dim=1), y) < BAR
    assert bench.error(end, final) < BAR


def test_gradient_flows_through_the_carried_state(bench, backend):
    six = [x.requires_grad_() for x in bench.inputs("easy", 1, 40, 2, 32, dtype=torch.float32)]

    def halves():
        y_head, middle = wkv7(*(x[:, :23] for x in six), output_state=True, backend=backend)
        y_tail, _ = wkv7(*(x[:, 23:] for x in six), state=middle, backend=backend)
        return torch.cat((y_head, y_tail), dim=1)

    split = torch.autograd.grad(halves().square().sum(), six)
    whole = torch.autograd.grad(wkv7(*six, backend=backend)[0].square().sum(), six)
    for x, expected in zip(split, whole, strict=True):
        assert bench.error(x, expected) < BAR


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_equal_a_pass(bench, dtype):
    six = bench.inputs("easy", 2, 12, 2, 64, dtype=dtype)
    state = bench.state(2, 2, 64, dtype=dtype)
    y, final = wkv7(*(x.double() for x in six), state=state.double(), output_state=True, backend="reference")
    for t in range(12):
        y_t, state = wkv7_step(*(x[:, t] for x in six), state)
        assert y_t.dtype == state.dtype == dtype
        assert bench.error(y_t, y[:, t]) < BAR
    assert bench.error(state, final) < BAR


@pytest.mark.parametrize("backend", BACKENDS)
def test_steps_in_place_on_a_pool(bench, backend):
    six = bench.inputs("easy", 2, 5, 2, 64, dtype=torch.float32)
    start = bench.state(4, 2, 64, dtype=torch.float32)
    slots = torch.tensor([3, 1])
    y, final = wkv7(*six, state=start[slots], output_state=True, backend=backend)
    pool = start.clone()
    for t in range(5):
        y_t, returned = wkv7_step(*(x[:, t] for x in six), pool, out=pool, slots=slots, backend=backend)
        assert returned is pool
        assert bench.error(y_t, y[:, t]) < BAR
    assert bench.error(pool[slots], final) < BAR
    assert torch.equal(pool[[0, 2]], start[[0, 2]])

    whole = torch.empty_like(start[slots])
    first = [x[:, 0] for x in six]
    wkv7_step(*first, start[slots], out=whole, backend=backend)
    assert torch.equal(whole, wkv7_step(*first, start[slots], backend=backend)[1])


def test_step_is_differentiable(bench):
    six = [x[:, 0].requires_grad_() for x in bench.inputs("easy", 2, 1, 2, 4)]
    six[1] = (six[1].detach() * 0.9 - 0.01).requires_grad_()
    assert torch.autograd.gradcheck(wkv7_step, (*six, bench.state(2, 2, 4).requires_grad_()))


def test_one_token_and_no_token(bench, backend):
    state = bench.state(2, 1, 32, dtype=torch.float32)
    one = bench.inputs("easy", 2, 1, 1, 32, dtype=torch.float32)
    y, final = wkv7(*one, state=state, output_state=True, backend=backend)
    y_step, state_step = wkv7_step(*(x[:, 0] for x in one), state)
    assert bench.error(y[:, 0], y_step) < BAR
    assert bench.error(final, state_step) < BAR

    none = [x[:, :0] for x in one]
    y, final = wkv7(*none, state=state, output_state=True, backend=backend)
    assert y.shape == (2, 0, 1, 32)
    assert torch.equal(final, state)
    y, final = wkv7(*none, output_state=True, backend=backend)
    assert final.shape == (2, 1, 32, 32)
    assert not final.any()


def test_initial_state_is_left_alone(bench, backend):
    six = bench.inputs("easy", 1, 20, 1, 32, dtype=torch.float32)
    state = bench.state(1, 1, 32, dtype=torch.float32)
    before = state.clone()
    _, final = wkv7(*six, state=state, output_state=True, backend=backend)
    assert torch.equal(state, before)
    final.zero_()
    assert torch.equal(state, before)


def test_layout_in_memory_does_not_matter(bench, backend):
    six = bench.inputs("easy", 2, 20, 3, 32, dtype=torch.float32)
    state = bench.state(2, 3, 32, dtype=torch.float32)
    expected = bench.results(six, state, backend=backend)
    scattered = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in six]
    found = bench.results(scattered, state.mT.contiguous().mT, backend=backend)
    for name, x, y in zip(bench.names, found, expected, strict=True):
        assert bench.error(x, y) < BAR, name


def test_state_is_none_unless_asked_for(bench, backend):
    assert wkv7(*bench.inputs("easy", 1, 3, 1, 32, dtype=torch.float32), backend=backend)[1] is None


def test_not_a_number_spoils_its_sequence_and_head_only(bench, backend):
    six = bench.inputs("easy", 1, 20, 2, 32, dtype=torch.float32)
    bounds = CuSeqlens.of([0, 8, 20])
    clean, _ = wkv7(*six, cu_seqlens=bounds, backend=backend)
    six[1][0, 10, 1, 3] = float("nan")
    y, _ = wkv7(*six, cu_seqlens=bounds, backend=backend)
    assert y[:, 10:, 1].isnan().all()
    assert torch.equal(y[:, :8], clean[:, :8])
    assert torch.equal(y[:, :, 0], clean[:, :, 0])


def test_cpu_result_does_not_depend_on_threads(bench, on_threads):
    six = bench.inputs("easy", 1, 300, 3, 32, dtype=torch.float32)
    state = bench.state(4, 3, 32, dtype=torch.float32)
    bounds = CuSeqlens.of([0, 5, 190, 191, 300])
    expected, found = on_threads(lambda: bench.results(six, state, cu_seqlens=bounds, backend="cpu"))
    for name, x, y in zip(bench.names, found, expected, strict=True):
        assert torch.equal(x, y), name


def test_every_element_of_the_results_is_written(bench, backend):
    # In this mode torch fills fresh memory with NaN.
    six = bench.inputs("easy", 1, 70, 2, 32, dtype=torch.float32)
    torch.use_deterministic_algorithms(True)
    try:
        bounds = CuSeqlens.of([0, 33, 33, 34, 70])
        for x in bench.results(six, bench.state(4, 2, 32, dtype=torch.float32), cu_seqlens=bounds, backend=backend):
            assert x.isfinite().all()
    finally:
        torch.use_deterministic_algorithms(False)


def test_gradients_of_ten_thousand_tokens_stay_finite(bench):
    six = bench.inputs("no decay", 1, 10_000, 1, 32, dtype=torch.float32)
    for x in bench.results(six, bench.state(1, 1, 32, dtype=torch.float32)):
        assert x.isfinite().all()
