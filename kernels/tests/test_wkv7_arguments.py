"""Bad input gets a ValueError that names the argument and what it was compared with."""

import pytest
import torch
from modrwkv_kernels import LOG_DECAY_MIN, CuSeqlens, available_backends, explain_dispatch, wkv7, wkv7_step


@pytest.fixture
def six(bench):
    return dict(zip(("r", "log_w", "k", "v", "a", "b"), bench.inputs("easy", 2, 5, 3, 8).copy(), strict=True))


@pytest.mark.parametrize("name", ["log_w", "k", "v", "a", "b"])
def test_shapes_that_differ(six, name):
    six[name] = six[name][:, :4]
    with pytest.raises(ValueError, match=rf"{name} is \[2, 4, 3, 8\] but r is \[2, 5, 3, 8\]"):
        wkv7(**six)


@pytest.mark.parametrize("name", ["log_w", "k", "v", "a", "b"])
def test_dtypes_that_differ(six, name):
    six[name] = six[name].half()
    with pytest.raises(ValueError, match=rf"{name} is torch.float16 but r is torch.float64"):
        wkv7(**six)


def test_devices_that_differ(six):
    six["v"] = six["v"].to("meta")
    with pytest.raises(ValueError, match="v is on meta but r is on cpu"):
        wkv7(**six)


def test_wrong_rank_and_integer_inputs(six):
    with pytest.raises(ValueError, match=r"r must be \[batch, tokens, heads, head size\], not \[5, 3, 8\]"):
        wkv7(**{name: x[0] for name, x in six.items()})
    with pytest.raises(ValueError, match=r"r must be float16.* not torch.int32"):
        wkv7(**{name: x.int() for name, x in six.items()})


def test_state(six):
    with pytest.raises(ValueError, match=r"state is \[1, 3, 8, 8\].* = \[2, 3, 8, 8\]"):
        wkv7(**six, state=torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"state is torch.float32 .* must be torch.float64"):
        wkv7(**six, state=torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="state is on meta but r is on cpu"):
        wkv7(**six, state=torch.zeros(2, 3, 8, 8, dtype=torch.float64, device="meta"))


@pytest.mark.parametrize("value", [0.01, LOG_DECAY_MIN * 1.1, float("-inf")])
def test_decay_outside_its_range(six, value):
    six["log_w"][0, 0, 0, 0] = value
    with pytest.raises(ValueError, match=r"log_w must lie in \[-0.6065, 0\]"):
        wkv7(**six)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_decay_at_its_bound_survives_rounding(six, dtype):
    six = {name: x.to(dtype) for name, x in six.items()}
    six["log_w"].fill_(LOG_DECAY_MIN)
    assert wkv7(**six)[0].isfinite().all()


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ([1, 5], r"cu_seqlens must start at 0, but is \[1, 5\]"),
        ([], r"cu_seqlens must start at 0, but is \[\]"),
        ([0, 3, 2, 5], r"must not decrease, but cu_seqlens\[2\] = 2 follows 3"),
        (torch.tensor([[0, 5]]), r"\[sequences \+ 1\] in CPU memory, not torch.int64 \[1, 2\] on cpu"),
        (torch.tensor([0.0, 5.0]), r"must be int32 or int64 .*, not torch.float32"),
        (torch.tensor([0, 5], device="meta"), "in CPU memory, not torch.int64 .* on meta"),
    ],
)
def test_bounds(bounds, message):
    with pytest.raises(ValueError, match=message):
        CuSeqlens.of(bounds)


def test_bounds_of_other_inputs(six):
    one = {name: x[:1] for name, x in six.items()}
    with pytest.raises(ValueError, match="from 0 to the 5 tokens of r, but runs from 0 to 4"):
        wkv7(**one, cu_seqlens=CuSeqlens.of([0, 4]))
    with pytest.raises(ValueError, match="cu_seqlens is on meta but r is on cpu; move it"):
        wkv7(**one, cu_seqlens=CuSeqlens.of([0, 5]).to("meta"))


def test_bounds_need_packed_inputs(six):
    with pytest.raises(ValueError, match=r"r is \[2, 5, 3, 8\]"):
        wkv7(**six, cu_seqlens=CuSeqlens.of([0, 5]))


def test_chunk_size(six):
    with pytest.raises(ValueError, match=r"chunk_size must be one of \(16, 32, 64\), not 48"):
        wkv7(**six, chunk_size=48)


def test_step_arguments(six):
    token = {name: x[:, 0] for name, x in six.items()}
    state = torch.zeros(2, 3, 8, 8, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"r must be \[batch, heads, head size\], not \[2, 5, 3, 8\]"):
        wkv7_step(**six, state=state)
    with pytest.raises(ValueError, match=r"k is \[2, 3, 7\] but r is \[2, 3, 8\]"):
        wkv7_step(**(token | {"k": token["k"][..., :7]}), state=state)
    with pytest.raises(ValueError, match=r"state is \[2, 3, 8, 7\]"):
        wkv7_step(**token, state=state[..., :7])


def test_step_into_a_pool_arguments(six):
    token = {name: x[:, 0] for name, x in six.items()}
    pool = torch.zeros(4, 3, 8, 8, dtype=torch.float64)
    with pytest.raises(ValueError, match="slots needs out"):
        wkv7_step(**token, state=pool, slots=torch.tensor([0, 1]))
    for slots, message in [
        (torch.tensor([0, 1, 2]), r"slots is \[3\] but r is \[2, 3, 8\]"),
        (torch.tensor([0.0, 1.0]), "must be int32 or int64"),
        (torch.tensor([1, 1]), r"all different, but is \[1, 1\]"),
        (torch.tensor([0, 4]), r"from 0 to 3, the slots of state, but is \[0, 4\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            wkv7_step(**token, state=pool, out=pool, slots=slots)
    with pytest.raises(ValueError, match=r"out is torch.float32 \[4, 3, 8, 8\]"):
        wkv7_step(**token, state=pool, out=pool.float(), slots=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="out must be contiguous"):
        wkv7_step(**token, state=pool, out=pool.mT, slots=torch.tensor([0, 1]))
    token["k"].requires_grad_()
    with pytest.raises(ValueError, match="out has no gradient"):
        wkv7_step(**token, state=pool, out=pool, slots=torch.tensor([0, 1]))


def test_unknown_backend(six):
    with pytest.raises(ValueError, match=r"no backend 'tritn'; choose 'auto' or one of .*'torch', 'reference'"):
        wkv7(**six, backend="tritn")


def test_unavailable_backend_says_why(six):
    with pytest.raises(ValueError, match=r"'reference' is unavailable here: .* no chunks"):
        wkv7(**six, backend="reference", chunk_size=16)


def test_explain_dispatch():
    assert {"torch", "reference"} <= set(available_backends())
    dispatch = explain_dispatch(chunk_size=16, dtype=torch.float64)
    assert dispatch.chosen == "torch"
    assert dispatch.reasons["torch"] is None
    assert "no chunks" in dispatch.reasons["reference"]
    assert "* torch" in str(dispatch)
    assert "unavailable" in str(dispatch)
    assert explain_dispatch("reference").chosen == "reference"
