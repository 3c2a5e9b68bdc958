"""Packed sequences travel from the host to the device once per batch, and never back."""

from __future__ import annotations

import pickle
from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from modrwkv_kernels import CuSeqlens, chunked_op
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config

OFFSETS = [0, 3, 4, 12]
TOKENS, WIDTH = OFFSETS[-1], 16


class Copies(TorchDispatchMode):
    """Counts copies between CPU memory and the meta device, which stands for an accelerator: it has no values."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        source = next((x for x in args if isinstance(x, Tensor)), None)
        if func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_) and source is not None:
            given = args[1] if func.overloadpacket is torch.ops.aten.copy_ else source
            if given.device != result.device:
                self.count[f"{given.device.type} to {result.device.type}"] += 1
        elif func is torch.ops.aten._local_scalar_dense.default:
            self.count["read of a value"] += 1
        return result


def passes(layers: int) -> Counter[str]:
    """Copies of a forward and backward pass and of a prefill over a packed batch."""
    with torch.device("meta"):
        model = RWKV7(RWKV7Config(num_layers=layers, hidden_size=WIDTH, head_dim=8, kernel="torch"), 32)
    x = torch.randn(1, TOKENS, WIDTH, device="meta", requires_grad=True)
    with Copies() as copies:
        cu_seqlens = CuSeqlens.of(OFFSETS).to("meta")
        hidden, state = model(x, cu_seqlens=cu_seqlens)
        (hidden.sum() + state.matrix.sum()).backward()
        with torch.no_grad():
            model.prefill(x, cu_seqlens=cu_seqlens)
    return copies.count


def test_a_batch_is_copied_to_the_device_once_for_all_layers_and_nothing_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: nullcontext())  # the meta device has none
    one, three = passes(1), passes(3)
    assert one == three
    assert one == {"cpu to meta": 4}


def test_the_recurrence_reads_the_lengths_from_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch's dispatcher hides on the meta device: the kernels in plain torch themselves, forward and backward."""
    plans = []
    build = chunked_op.ChunkList.build
    monkeypatch.setattr(chunked_op.ChunkList, "build", lambda *args: plans.append(args) or build(*args))
    chunked_op._plan.cache_clear()
    cu_seqlens = CuSeqlens.of(OFFSETS).to("meta")
    six = [torch.randn(1, TOKENS, 2, 8, device="meta") for _ in range(6)]
    with Copies() as copies:
        for _ in range(3):
            y, final, states = chunked_op._forward(*six, None, cu_seqlens.on_host(), 16, True)
            chunked_op._backward(y, final, *six, states, cu_seqlens.on_host(), 16)
    assert copies.count == {"cpu to meta": 2}
    assert len(plans) == 1


def test_a_batch_survives_the_way_out_of_a_loader_worker() -> None:
    original = CuSeqlens.of(OFFSETS)
    copy = pickle.loads(pickle.dumps(original))
    for name in ("host", "device", "first", "last", "sequence_starts"):
        assert torch.equal(getattr(copy, name), getattr(original, name))
    assert copy.lengths == [3, 1, 8]
    assert copy.sequence_starts.tolist() == [0, -1, -1, 1, 2, -1, -1, -1, -1, -1, -1, -1]
