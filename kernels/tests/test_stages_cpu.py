"""The compiled stages around the recurrence: what float64 gives, on every instruction set and any number of threads."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_kernels import CuSeqlens, ValueResidual, fused_k_update, gate_output, relu_squared, token_shift_mix
from modrwkv_kernels.capability import native_unavailable_reason
from modrwkv_kernels.dispatch import request_for, select

pytestmark = pytest.mark.skipif(native_unavailable_reason() is not None, reason=native_unavailable_reason() or "")
BAR = 3e-7


def normal(*shape, scale=1.0, seed=0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def worst(function, arguments, **options):
    """The largest relative error of a function's results, against the same in float64."""
    tensors = [x for x in arguments if isinstance(x, torch.Tensor)]
    assert select("gate_output", request_for(*tensors, head_size=options.get("head_size", 64))) == "cpu"
    found = function(*arguments, **options)
    exact = function(*(x.double() if isinstance(x, torch.Tensor) else x for x in arguments), **options)
    return max(
        (((x - y).norm() / (y.norm() + 1e-30)).item() for x, y in zip(found, exact, strict=True) if y.numel()),
        default=0.0,
    )


def shift(x, update, before, mix, weight, bias, cu_seqlens=None):
    summed, mixes = token_shift_mix(x, before, mix, weight, bias, update=update, cu_seqlens=cu_seqlens)
    return summed, *mixes


def alone(x, before, mix, weight, bias):
    return token_shift_mix(x, before, mix, weight, bias)[1]


def of_heads(heads, size, tokens=7):
    """Arguments of the preparation, with and without the value residual, and of the read-out."""
    width = heads * size
    rows = [normal(2, tokens, width, scale=3, seed=i) for i in range(6)]
    rows[0][1, 3] = 0
    vectors = [normal(width, seed=i) for i in range(4)]
    per_head = [normal(2, tokens, heads, size, seed=i) for i in range(4)]
    return rows, vectors, per_head, normal(heads, size)


def k_update(k, v, decay, rate, k_k, k_a, *residual, head_size):
    pair = ValueResidual(*residual) if residual else None
    return fused_k_update(k, v, decay, rate, k_k, k_a, head_size=head_size, residual=pair)


def gated(*arguments, head_size):
    return (gate_output(*arguments, eps=64e-5),)


def check_heads(heads, size):
    rows, (k_k, k_a, weight, bias), per_head, r_k = of_heads(heads, size)
    return max(
        worst(k_update, [*rows[:4], k_k, k_a], head_size=size),
        worst(k_update, [*rows[:4], k_k, k_a, *rows[4:]], head_size=size),
        worst(gated, [*per_head, rows[0], r_k, weight, bias], head_size=size),
    )


def check_shift(batch, tokens, width, offsets=None):
    sequences = batch if offsets is None else len(offsets) - 1
    x, update, before = normal(batch, tokens, width), normal(batch, tokens, width, seed=1), normal(sequences, width)
    common = [1 + normal(width, scale=0.1), normal(width)]
    packed = [] if offsets is None else [CuSeqlens.of(offsets)]
    errors = [worst(shift, [x, update, before, normal(1, width), *common, *packed])]
    if offsets is None:
        errors.append(worst(alone, [x, before, normal(6, width), *common]))
    return max(errors)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_heads(size):
    assert check_heads(3, size) < BAR


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(0, 40), st.sampled_from([16, 48, 512]))
def test_shift_of_a_batch(batch, tokens, width):
    assert check_shift(batch, tokens, width) < BAR


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.sampled_from([16, 512]))
def test_shift_of_packed_sequences(lengths, width):
    offsets = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    assert check_shift(1, sum(lengths), width, offsets) < BAR


def test_result_does_not_depend_on_threads(on_threads):
    arguments = [normal(2, 200, 512), normal(2, 512), normal(6, 512), normal(512), normal(512)]
    results = on_threads(lambda: alone(*arguments))
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def test_squared_rectifier_takes_the_memory_it_may():
    x = normal(3, 50)
    expected, copy = x.clamp_min(0).square(), x.clone()
    with torch.no_grad():
        assert torch.equal(relu_squared(x), expected)
        assert torch.equal(x, copy)
        result = relu_squared(x, overwrite=True)
    assert torch.equal(result, expected)
    assert result.data_ptr() == x.data_ptr()


def test_serve_no_gradients_and_no_other_dtypes_or_sizes():
    x = torch.zeros(1, 2, 64)

    def serves(*tensors, operation="token_shift_mix", head_size=64):
        return select(operation, request_for(*tensors, head_size=head_size)) == "cpu"

    assert serves(x, None)
    assert not serves(x, x.clone().requires_grad_())
    with torch.no_grad():
        assert serves(x, x.clone().requires_grad_())
    assert not serves(x, x.double())
    assert not serves(x.bfloat16())
    assert not serves(x[..., :24])
    assert not serves(x, operation="gate_output", head_size=16)


def test_ops_are_registered_correctly():
    ops = torch.ops.modrwkv_kernels
    rows, (k_k, k_a, weight, bias), per_head, r_k = of_heads(2, 32)
    x, before, mix = rows[0], normal(2, 64), normal(6, 64)
    torch.library.opcheck(ops.token_shift_cpu.default, (x, None, before, mix, weight, bias, None, 1e-5))
    first = torch.tensor([0, 2])
    packed = (x[:1], x[1:], before, mix, weight, bias, first, 1e-5)
    torch.library.opcheck(ops.token_shift_cpu.default, packed)
    for pair in ((None, None), rows[4:]):
        torch.library.opcheck(ops.fused_k_update_cpu.default, (*rows[:4], k_k, k_a, *pair, 32))
    torch.library.opcheck(ops.gate_output_cpu.default, (*per_head, x, r_k, weight, bias, 64e-5))
    with pytest.raises(ValueError, match="first must rise"):
        ops.token_shift_cpu(*packed[:6], torch.tensor([1, 3]), 1e-5)
    with pytest.raises(ValueError, match=r"norm_bias is \[63\] but must be \[64\]"):
        ops.token_shift_cpu(x, None, before, mix, weight, bias[1:], None, 1e-5)


ON_ONE_INSTRUCTION_SET = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from test_stages_cpu import check_heads, check_shift
torch.set_num_threads(1)
worst = max(check_shift(2, 9, 48), *(check_heads(2, size) for size in (32, 64, 128)))
print(torch.ops.modrwkv_kernels.wkv7_cpu_isa(), worst)
"""


def test_each_instruction_set_of_the_stages(on_instruction_set):
    assert on_instruction_set(ON_ONE_INSTRUCTION_SET) < BAR
