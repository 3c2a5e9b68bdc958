"""The compiled decoder against the equations in float64."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from modrwkv_kernels.capability import native_unavailable_reason
from modrwkv_kernels.decode_op import decode_cpu
from modrwkv_kernels.decode_weights import lossless_format, pack
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from decode_model import random_checkpoint, random_state, step

TOKENS, VOCAB = 4, 101
SHAPES = [(3, 128, 64, 96), (2, 96, 32, 100), (2, 128, 128, 64), (1, 64, 64, 200)]


@pytest.fixture(autouse=True)
def _needs_the_library() -> None:
    reason = native_unavailable_reason()
    if reason is not None:
        pytest.skip(reason)


def error(x: Tensor, truth: Tensor) -> float:
    return ((x.double() - truth.double()).norm() / truth.double().norm()).item()


def as_stored(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint whose values int8 weights stand for."""

    def rounded(x: Tensor) -> Tensor:
        scale = x.abs().amax(dim=1, keepdim=True) / 127
        return (x / scale).round() * scale

    def of(name: str, x: Tensor) -> Tensor:
        if name.endswith(("att.w1", "att.a1", "att.v1", "att.g1", "ffn.value.weight")):
            return rounded(x.mT).mT
        if name == "head.weight" or (x.dim() == 2 and name.endswith(".weight") and name != "emb.weight"):
            return rounded(x)
        return x

    return {name: of(name, x) for name, x in tensors.items()}


def compare(
    tensors: dict[str, Tensor], truth: dict[str, Tensor], weights: str, head_size: int, slots: list[int]
) -> float:
    """Worst relative error of logits and states over some tokens in each of the slots of a pool."""
    width = tensors["emb.weight"].shape[1]
    layers = sum(name.endswith("ffn.x_k") for name in tensors)
    packed = pack(tensors, weights, transpose_value=True)
    state, expected_state = (random_state(layers, 6, width, head_size) for _ in range(2))
    ids = torch.randint(0, VOCAB, (TOKENS, len(slots)), generator=torch.Generator().manual_seed(3))
    worst = 0.0
    for ids_B in ids:
        logits = decode_cpu(packed, packed.embedding[ids_B].float(), torch.tensor(slots), *state)
        for row, slot in enumerate(slots):
            worst = max(worst, error(logits[row], step(truth, int(ids_B[row]), expected_state, slot)))
    return max(worst, *(error(x, y) for x, y in zip(state, expected_state, strict=True)))


@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
@pytest.mark.parametrize(("layers", "width", "head_size", "ffn"), SHAPES)
@pytest.mark.parametrize("slots", [[0], [5, 0, 3], [4, 3, 2, 1, 0]])
def test_follows_the_equations(
    weights: str, layers: int, width: int, head_size: int, ffn: int, slots: list[int]
) -> None:
    tensors = random_checkpoint(layers, width, head_size, ffn, VOCAB)
    assert compare(tensors, tensors, weights, head_size, slots) < 2e-6


@pytest.mark.parametrize(("layers", "width", "head_size", "ffn"), SHAPES)
def test_int8_is_exact_for_the_weights_it_stands_for_and_near_for_the_others(
    layers: int, width: int, head_size: int, ffn: int
) -> None:
    tensors = random_checkpoint(layers, width, head_size, ffn, VOCAB)
    assert compare(tensors, as_stored(tensors), "int8", head_size, [2, 0]) < 2e-6
    assert 1e-4 < compare(tensors, tensors, "int8", head_size, [2, 0]) < 4e-2


def test_result_does_not_depend_on_threads(on_threads: Callable[[Callable[[], Any]], tuple[Any, Any]]) -> None:
    tensors = random_checkpoint(2, 256, 64, 1024, VOCAB)
    packed = pack(tensors, "bfloat16", transpose_value=True)

    def run() -> list[Tensor]:
        state = random_state(2, 2, 256, 64)
        return [decode_cpu(packed, packed.embedding[:2].float(), torch.arange(2), *state), *state]

    assert all(torch.equal(x, y) for x, y in zip(*on_threads(run), strict=True))


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_a_row_does_not_depend_on_the_others(weights: str) -> None:
    tensors = random_checkpoint(3, 256, 64, 1000, VOCAB)
    packed = pack(tensors, weights, transpose_value=True)
    ids = torch.randint(0, VOCAB, (TOKENS, 7), generator=torch.Generator().manual_seed(3))
    alone, together = (random_state(3, 7, 256, 64) for _ in range(2))
    for ids_B in ids:
        logits = decode_cpu(packed, packed.embedding[ids_B].float(), torch.arange(7), *together)
        rows = [decode_cpu(packed, packed.embedding[ids_B[[b]]].float(), torch.tensor([b]), *alone) for b in range(7)]
        assert torch.equal(logits, torch.cat(rows))
    assert all(torch.equal(x, y) for x, y in zip(alone, together, strict=True))


ON_ONE_INSTRUCTION_SET = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from test_decode_cpu import as_stored, compare, random_checkpoint, SHAPES, VOCAB
torch.set_num_threads(1)
worst = 0.0
for *sizes, head_size, ffn in SHAPES[:2]:
    tensors = random_checkpoint(*sizes, head_size, ffn, VOCAB)
    for weights in ("float32", "bfloat16", "int8"):
        truth = as_stored(tensors) if weights == "int8" else tensors
        worst = max(worst, compare(tensors, truth, weights, head_size, [3, 1]))
print(torch.ops.modrwkv_kernels.wkv7_cpu_isa(), worst)
"""


def test_each_instruction_set_of_the_decoder(on_instruction_set: Callable[[str], float]) -> None:
    assert on_instruction_set(ON_ONE_INSTRUCTION_SET) < 2e-6


def test_no_token_of_no_row() -> None:
    tensors = random_checkpoint(1, 64, 64, 64, VOCAB)
    packed = pack(tensors, "bfloat16", transpose_value=True)
    logits = decode_cpu(packed, torch.empty(0, 64), torch.empty(0, dtype=torch.int64), *random_state(1, 1, 64, 64))
    assert logits.shape == (0, VOCAB)


def test_not_a_number_spoils_its_row_only() -> None:
    tensors = random_checkpoint(2, 64, 64, 64, VOCAB)
    packed = pack(tensors, "bfloat16", transpose_value=True)
    x, state = packed.embedding[:2].float(), random_state(2, 2, 64, 64)
    x[0, 5] = float("nan")
    logits = decode_cpu(packed, x, torch.arange(2), *state)
    assert logits[0].isnan().all()
    assert logits[1].isfinite().all()
    assert all(tensor[:, 1].isfinite().all() for tensor in state)


def test_smallest_format_that_loses_nothing() -> None:
    tensors = random_checkpoint(1, 64, 64, 64, VOCAB)
    assert lossless_format(tensors.values()) == "bfloat16"
    tensors["head.weight"][3, 4] += 1e-4
    assert lossless_format(tensors.values()) == "float32"


def test_bytes_of_a_step() -> None:
    tensors = random_checkpoint(1, 64, 64, 64, VOCAB)
    matrices = 64 * (3 * 64 + 64 + 32 + 64) + 64 * (64 + 32 + 64) + 64 * 64 + 2 * 64 * 64 + VOCAB * 64
    vectors = (19 + 4) * 64 * 4
    assert pack(tensors, "float32", transpose_value=True).nbytes == 4 * matrices + vectors
    assert pack(tensors, "bfloat16", transpose_value=True).nbytes == 2 * matrices + vectors


def test_bad_input_is_a_value_error() -> None:
    packed = pack(random_checkpoint(2, 64, 64, 64, VOCAB), "int8", transpose_value=True)
    x, slots, state = torch.randn(1, 64), torch.tensor([0]), random_state(2, 2, 64, 64)

    def refused(message: str, *, weights=packed, x=x, slots=slots, state=state) -> None:
        with pytest.raises(ValueError, match=message):
            decode_cpu(weights, x, slots, *state)

    refused("x must be .*batch, hidden", x=torch.randn(64))
    refused("slot 2 is not one of the 2", slots=torch.tensor([2]))
    refused("slots is .*2.* but must be .*1", slots=torch.tensor([0, 1]))
    refused("states is .* but must be", state=[state[0][:1], *state[1:]])
    refused("time_shift is .* but must be", state=[state[0], state[1][:, :1], state[2]])
    refused("channel_shift must be contiguous", state=[*state[:2], state[2].mT.contiguous().mT])
    refused("heads of 32, 64 or 128, not 16", weights=replace(packed, head_size=16))
    refused("is int8 but has no scale", weights=replace(packed, layers=_without_scales(packed), head_scale=None))
    refused("scales must be empty or hold", weights=replace(packed, head_scale=None))
    with pytest.raises(ValueError, match="weights must be one of float32, bfloat16, int8, not 'fp8'"):
        pack(random_checkpoint(1, 64, 64, 64, VOCAB), "fp8", transpose_value=True)
    with pytest.raises(RuntimeError, match="expected scalar type"):
        decode_cpu(packed, x.double(), slots, *state)


def _without_scales(packed):
    return tuple(layer._replace(scales=()) for layer in packed.layers)


def test_op_is_registered_as_torch_expects() -> None:
    packed = pack(random_checkpoint(2, 64, 64, 64, VOCAB), "bfloat16", transpose_value=True)
    state = random_state(2, 2, 64, 64)
    arguments = (
        torch.randn(1, 64),
        torch.tensor([1]),
        *state,
        packed.layer_tensors,
        [],
        packed.norms,
        packed.head,
        64,
        packed.ranks,
    )
    torch.library.opcheck(torch.ops.modrwkv_kernels.rwkv7_decode_cpu, arguments)
