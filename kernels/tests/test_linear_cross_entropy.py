"""Output projection and cross-entropy in slices, against torch's own in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_kernels import linear_cross_entropy
from modrwkv_kernels.fused import cross_entropy
from torch.nn import functional


def problem(rows, width, vocabulary, dtype=torch.float64):
    generator = torch.Generator().manual_seed(rows * vocabulary)
    hidden = torch.randn(rows, width, generator=generator, dtype=torch.float64).to(dtype)
    weight = torch.randn(vocabulary, width, generator=generator, dtype=torch.float64).to(dtype)
    ids = torch.randint(0, vocabulary, (rows,), generator=generator)
    return hidden.requires_grad_(), weight.requires_grad_(), ids


def judge(hidden, weight, ids):
    """Loss and gradients of three times the sum, in float64."""
    hidden, weight = (x.detach().double().requires_grad_() for x in (hidden, weight))
    loss = functional.cross_entropy(hidden @ weight.T, ids, reduction="sum")
    return loss, *torch.autograd.grad(3 * loss, (hidden, weight))


def outcome(hidden, weight, ids):
    loss = linear_cross_entropy(hidden, weight, ids)
    return loss, *torch.autograd.grad(3 * loss, (hidden, weight))


def error(x, truth):
    return ((x.double() - truth).norm() / truth.norm()).item()


@given(rows=st.integers(1, 20), width=st.integers(1, 9), vocabulary=st.integers(2, 40), chunk_size=st.integers(1, 25))
@settings(max_examples=40, deadline=None)
def test_float64_equals_torch_in_slices_of_any_length(rows, width, vocabulary, chunk_size):
    given_problem = problem(rows, width, vocabulary)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(cross_entropy.MAX_LOGITS, "cpu", vocabulary * chunk_size)
        found = outcome(*given_problem)
    for x, truth in zip(found, judge(*given_problem), strict=True):
        torch.testing.assert_close(x, truth, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("dtype", "bar"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_sums_are_in_float32(monkeypatch, dtype, bar):
    monkeypatch.setitem(cross_entropy.MAX_LOGITS, "cpu", 1000 * 7)
    given_problem = problem(256, 64, 1000, dtype)
    found, truth = outcome(*given_problem), judge(*given_problem)
    assert [x.dtype for x in found] == [torch.float32, dtype, dtype]
    assert all(error(x, expected) < bar for x, expected in zip(found, truth, strict=True))


def test_extreme_logits_neither_overflow_nor_vanish():
    hidden, weight, ids = problem(5, 4, 11)
    hidden = (hidden.detach() * 1e3).requires_grad_()
    for x, truth in zip(outcome(hidden, weight, ids), judge(hidden, weight, ids), strict=True):
        assert x.isfinite().all()
        torch.testing.assert_close(x, truth)


def test_no_more_logits_than_the_limit_exist_at_one_time(monkeypatch):
    monkeypatch.setitem(cross_entropy.MAX_LOGITS, "cpu", 11 * 4)
    seen = []
    original = cross_entropy._loss_and_gradient
    monkeypatch.setattr(
        cross_entropy, "_loss_and_gradient", lambda x, *rest: seen.append(x.shape) or original(x, *rest)
    )
    hidden, weight, ids = problem(23, 8, 11)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.shape) or x, lambda x: x):
        linear_cross_entropy(hidden, weight, ids)
    assert max(rows for rows, _ in seen) == 4
    assert sum(rows for rows, _ in seen) == 23
    assert {tuple(shape) for shape in saved} == {(23, 8), (11, 8)}


@pytest.mark.parametrize("frozen", ["hidden", "weight", "both", "no grad"])
def test_only_wanted_gradients_are_made(frozen):
    hidden, weight, ids = problem(9, 4, 11)
    expected = judge(hidden, weight, ids)
    hidden.requires_grad_(frozen not in ("hidden", "both"))
    weight.requires_grad_(frozen not in ("weight", "both"))
    with torch.set_grad_enabled(frozen != "no grad"):
        loss = linear_cross_entropy(hidden, weight, ids)
    torch.testing.assert_close(loss, expected[0])
    assert loss.requires_grad == (frozen in ("hidden", "weight"))
    if loss.requires_grad:
        (3 * loss).backward()
        for x, truth in ((hidden, expected[1]), (weight, expected[2])):
            assert x.grad is None if not x.requires_grad else torch.allclose(x.grad, truth)


def test_without_rows_the_loss_is_zero():
    loss, dhidden, dweight = outcome(*problem(0, 4, 11))
    assert loss == 0
    assert dhidden.shape == (0, 4)
    assert not dweight.any()


def test_autocast_multiplies_in_half_precision():
    hidden, weight, ids = problem(9, 4, 11, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = outcome(hidden, weight, ids)
    assert [x.dtype for x in found] == [torch.float32] * 3
    rounded = outcome(hidden.bfloat16(), weight.bfloat16(), ids)
    for x, expected in zip(found, rounded, strict=True):
        assert torch.equal(x, expected.float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, w, i: (h[None], w, i), r"hidden must be \[tokens, hidden\].*\[1, 9, 4\] and \[11, 4\]"),
        (lambda h, w, i: (h, w[:, 1:], i), r"weight is \[11, 3\] but hidden is \[9, 4\]; it needs \[11, 4\]"),
        (lambda h, w, i: (h, w, i[1:]), r"targets is \[8\] but hidden is \[9, 4\]; it needs \[9\]"),
        (lambda h, w, i: (h, w, i.int()), "targets must be int64, not torch.int32"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        linear_cross_entropy(*change(*problem(9, 4, 11)))


def test_op_is_registered_correctly():
    hidden, weight, ids = problem(9, 4, 11)
    op = torch.ops.modrwkv_kernels.linear_cross_entropy.default
    torch.library.opcheck(op, (hidden, weight, ids, 4, True, True))
    torch.library.opcheck(op, (hidden.detach(), weight, ids, 4, False, True))
    torch.library.opcheck(op, (hidden.detach(), weight.detach(), ids, 4, False, False))


def test_compiles_without_graph_break():
    hidden, weight, ids = problem(9, 4, 11)
    torch._dynamo.reset()
    compiled = torch.compile(linear_cross_entropy, fullgraph=True, backend="aot_eager")(hidden, weight, ids)
    gradients = torch.autograd.grad(3 * compiled, (hidden, weight))
    for x, expected in zip((compiled, *gradients), outcome(hidden, weight, ids), strict=True):
        assert torch.equal(x, expected)
