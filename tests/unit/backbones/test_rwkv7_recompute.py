"""Computing twice saves memory and changes nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Counting(TorchDispatchMode):
    """Counts the operations of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[str(func)] += 1
        return func(*args, **(kwargs or {}))


def gradients(model: Any, x: Tensor) -> tuple[list[Tensor], Counter[str]]:
    with Counting() as counting:
        hidden, state = model(x, cu_seqlens=torch.tensor([0, 3, 8]))
        loss = hidden.square().sum() + state.matrix.square().sum()
        found = torch.autograd.grad(loss, [x, *model.blocks.parameters()])
    return list(found), counting.calls


def operations(calls: Counter[str], name: str) -> int:
    return sum(count for operation, count in calls.items() if name in operation)


@pytest.mark.parametrize("kind", ["cheap", "all"])
def test_gradients_are_those_of_a_model_that_keeps_everything(make_model: Any, kind: str) -> None:
    x = torch.randn(1, 8, 16, dtype=torch.float64, requires_grad=True)
    model = make_model()
    kept, calls_kept = gradients(model, x)
    model.config = model.config.model_copy(update={"recompute": kind})
    again, calls_again = gradients(model, x)
    for expected, found in zip(kept, again, strict=True):
        assert torch.equal(found, expected)
    assert operations(calls_again, "aten.mul.") > operations(calls_kept, "aten.mul.")
    twice = operations(calls_again, "wkv7") > operations(calls_kept, "wkv7")
    assert twice == (kind == "all")
    assert (operations(calls_again, "aten.mm.") > operations(calls_kept, "aten.mm.")) == twice


def test_nothing_is_kept_or_made_again_without_gradients(make_model: Any) -> None:
    model = make_model()
    x = torch.randn(1, 8, 16, dtype=torch.float64)
    with torch.no_grad(), Counting() as counting:
        expected, _ = model(x)
    model.config = model.config.model_copy(update={"recompute": "all"})
    with torch.no_grad(), Counting() as again:
        found, _ = model(x)
    assert torch.equal(found, expected)
    assert again.calls == counting.calls
