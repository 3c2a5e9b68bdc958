"""The compiled stages around the recurrence: what float64 gives, on every instruction set and any number of threads."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_kernels import ValueResidual, readout, relu_squared, time_mix_prepare, token_shift_mix
from modrwkv_kernels.fused import stages_cpu
from modrwkv_kernels.native import why_missing

pytestmark = pytest.mark.skipif(why_missing() is not None, reason=why_missing() or "")
BAR = 3e-7


def normal(*shape, scale=1.0, seed=0):
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def worst(function, arguments, **options):
    """The largest relative error of a function's results, against the same in float64."""
    assert stages_cpu.serve(*(x for x in arguments if x.dtype == torch.float32), head_size=options.get("head_size", 64))
    found = function(*arguments, **options)
    exact = function(*(x.double() if x.is_floating_point() else x for x in arguments), **options)
    return max(
        (((x - y).norm() / (y.norm() + 1e-30)).item() for x, y in zip(found, exact, strict=True) if y.numel()),
        default=0.0,
    )


def shift(x, update, before, mix, weight, bias, first=None):
    summed, mixes = token_shift_mix(x, before, mix, weight, bias, update=update, first=first)
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


def prepare(k, v, decay, rate, k_k, k_a, *residual, head_size):
    pair = ValueResidual(*residual) if residual else None
    return time_mix_prepare(k, v, decay, rate, k_k, k_a, head_size=head_size, residual=pair)


def read(*arguments, head_size):
    return (readout(*arguments, eps=64e-5),)


def check_heads(heads, size):
    rows, (k_k, k_a, weight, bias), per_head, r_k = of_heads(heads, size)
    return max(
        worst(prepare, [*rows[:4], k_k, k_a], head_size=size),
        worst(prepare, [*rows[:4], k_k, k_a, *rows[4:]], head_size=size),
        worst(read, [*per_head, rows[0], r_k, weight, bias], head_size=size),
    )


def check_shift(rows, tokens, width, first=None):
    sequences = rows if first is None else len(first)
    x, update, before = normal(rows, tokens, width), normal(rows, tokens, width, seed=1), normal(sequences, width)
    common = [1 + normal(width, scale=0.1), normal(width)]
    packed = [] if first is None else [torch.tensor(first)]
    errors = [worst(shift, [x, update, before, normal(1, width), *common, *packed])]
    if first is None:
        errors.append(worst(alone, [x, before, normal(6, width), *common]))
    return max(errors)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_heads(size):
    assert check_heads(3, size) < BAR


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3), st.integers(0, 40), st.sampled_from([16, 48, 512]))
def test_shift_of_rows(rows, tokens, width):
    assert check_shift(rows, tokens, width) < BAR


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.sampled_from([16, 512]))
def test_shift_of_packed_sequences(lengths, width):
    first = [sum(lengths[:i]) for i in range(len(lengths))]
    assert check_shift(1, sum(lengths), width, first) < BAR


def test_result_does_not_depend_on_threads(on_threads):
    arguments = [normal(2, 200, 512), normal(2, 512), normal(6, 512), normal(512), normal(512)]
    results = on_threads(lambda: alone(*arguments))
    assert all(torch.equal(x, y) for x, y in zip(*results, strict=True))


def test_squared_rectifier_takes_the_memory_it_may():
    x = normal(3, 50)
    expected, kept = x.clamp_min(0).square(), x.clone()
    with torch.no_grad():
        assert torch.equal(relu_squared(x), expected)
        assert torch.equal(x, kept)
        result = relu_squared(x, overwrite=True)
    assert torch.equal(result, expected)
    assert result.data_ptr() == x.data_ptr()


def test_serves_no_gradients_and_no_other_types_or_sizes():
    x = torch.zeros(1, 2, 64)
    assert stages_cpu.serve(x, None)
    assert not stages_cpu.serve(x, x.clone().requires_grad_())
    with torch.no_grad():
        assert stages_cpu.serve(x, x.clone().requires_grad_())
    assert not stages_cpu.serve(x, x.double())
    assert not stages_cpu.serve(x.bfloat16())
    assert not stages_cpu.serve(x[..., :24])
    assert not stages_cpu.serve(x, head_size=16)


def test_ops_are_registered_correctly():
    ops = torch.ops.modrwkv_kernels
    rows, (k_k, k_a, weight, bias), per_head, r_k = of_heads(2, 32)
    x, before, mix = rows[0], normal(2, 64), normal(6, 64)
    torch.library.opcheck(ops.token_shift_cpu.default, (x, None, before, mix, weight, bias, None, 1e-5))
    first = torch.tensor([0, 2])
    packed = (x[:1], x[1:], before, mix, weight, bias, first, 1e-5)
    torch.library.opcheck(ops.token_shift_cpu.default, packed)
    for pair in ((None, None), rows[4:]):
        torch.library.opcheck(ops.time_mix_prepare_cpu.default, (*rows[:4], k_k, k_a, *pair, 32))
    torch.library.opcheck(ops.readout_cpu.default, (*per_head, x, r_k, weight, bias, 64e-5))
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
