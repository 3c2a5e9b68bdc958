"""Decode with the Triton kernels on a device, in a dtype, and judge the errors against float64.

A script of its own, because Triton decides when it is imported whether its interpreter runs the kernels. Without a
GPU: ``TRITON_INTERPRET=1 python decode_triton_check.py cpu float32``. Prints as JSON how many cases there are and the
worst relative errors of those beyond the bar.
"""

from __future__ import annotations

import json
import sys

import torch
from decode_model import random_checkpoint, random_state, step
from modrwkv_kernels.decode_triton import decode_triton
from modrwkv_kernels.decode_weights import pack

TOKENS, VOCAB = 2, 37
SHAPES = [(2, 128, 64, 96), (2, 96, 32, 100), (1, 64, 64, 64)]
SLOTS = {"one sequence": [2], "three sequences": [3, 0, 1]}
# Largest relative error of logits and states after two tokens. Several sequences are multiplied in bfloat16.
BARS = {"float32": 2e-6, "bfloat16": 2e-2}


def errors(device: str, weights: str) -> dict[str, float]:
    """Worst relative error of logits and states, for each shape and batch size."""
    found = {}
    for layers, width, head_size, ffn in SHAPES:
        tensors = random_checkpoint(layers, width, head_size, ffn, VOCAB)
        packed = pack({name: x.to(device) for name, x in tensors.items()}, weights, transpose_value=False)
        for name, slots in SLOTS.items():
            expected = random_state(layers, 4, width, head_size)
            state = [x.to(device) for x in random_state(layers, 4, width, head_size)]
            worst = []
            for token in range(TOKENS):
                ids = torch.arange(len(slots)) + token
                x = packed.embedding[ids.to(device)]
                logits = decode_triton(packed, x, torch.tensor(slots, device=device), *state).cpu()
                for row, slot in enumerate(slots):
                    worst.append(error(logits[row], step(tensors, int(ids[row]), expected, slot)))
            worst += [error(x.cpu(), y) for x, y in zip(state, expected, strict=True)]
            found[f"{layers} x {width}, heads of {head_size}, {name}"] = max(worst)
    # The last shape's, whose shapes and registration stand for all.
    arguments = (x, torch.tensor(slots, device=device), *state, packed.layer_tensors, packed.norms, packed.head)
    op = torch.ops.modrwkv_kernels.rwkv7_decode_triton
    torch.library.opcheck(
        op, (*arguments, packed.head_size, packed.ranks), test_utils=("test_schema", "test_faketensor")
    )
    return found


def error(x: torch.Tensor, truth: torch.Tensor) -> float:
    """Relative error in the Frobenius norm."""
    return ((x.double() - truth.double()).norm() / truth.double().norm()).item()


def main(device: str, weights: str) -> None:
    """Print what is beyond the bar."""
    found = errors(device, weights)
    beyond = {name: worst for name, worst in found.items() if not worst < BARS[weights]}
    sys.stdout.write(json.dumps({"cases": len(found), "beyond": beyond}))


if __name__ == "__main__":
    main(*sys.argv[1:])
