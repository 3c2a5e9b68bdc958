"""Computing twice saves memory and changes nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from modrwkv_kernels import CuSeqlens
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from modrwkv_core.backbones.rwkv7.recompute import recomputable, recomputing


class Counting(TorchDispatchMode):
    """Counts the operations of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[str(func)] += 1
        return func(*args, **(kwargs or {}))


class Remembering(TorchDispatchMode):
    """Knows how many bytes of what was computed are still held."""

    def __init__(self) -> None:
        super().__init__()
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        for result in results if isinstance(results, tuple | list) else (results,):
            if isinstance(result, Tensor):
                storage = result.untyped_storage()
                self._made[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        return results

    def held(self) -> int:
        return sum(size for storage, size in self._made.values() if not storage.expired())


def gradients(model: Any, x: Tensor) -> tuple[list[Tensor], Counter[str]]:
    with Counting() as counting:
        hidden, state = model(x, cu_seqlens=CuSeqlens.of([0, 3, 8]))
        loss = hidden.square().sum() + state.matrix.square().sum()
        found = torch.autograd.grad(loss, [x, *model.blocks.parameters()])
    return list(found), counting.calls


def operations(calls: Counter[str], name: str) -> int:
    return sum(count for operation, count in calls.items() if name in operation)


@pytest.mark.parametrize("kind", ["selective", "full"])
def test_gradients_are_those_of_a_model_that_keeps_everything(make_model: Any, kind: str) -> None:
    x = torch.randn(1, 8, 16, dtype=torch.float64, requires_grad=True)
    model = make_model()
    saved, calls_saved = gradients(model, x)
    model.config = model.config.model_copy(update={"activation_checkpointing": kind})
    again, calls_again = gradients(model, x)
    for expected, found in zip(saved, again, strict=True):
        assert torch.equal(found, expected)
    assert operations(calls_again, "aten.mul.") > operations(calls_saved, "aten.mul.")
    twice = operations(calls_again, "wkv7") > operations(calls_saved, "wkv7")
    assert twice == (kind == "full")
    assert (operations(calls_again, "aten.mm.") > operations(calls_saved, "aten.mm.")) == twice


def test_less_is_held_for_the_backward_pass(make_model: Any) -> None:
    model = make_model()
    held = {}
    for kind in ("none", "selective", "full"):
        model.config = model.config.model_copy(update={"activation_checkpointing": kind})
        x = torch.randn(1, 256, 16, dtype=torch.float64, requires_grad=True)
        with Remembering() as memory:
            hidden, _ = model(x)
            held[kind] = memory.held()
        hidden.sum().backward()
        assert x.grad is not None
    # On GPUs less than half: what lies between the products is one op there, which saves its inputs only.
    assert held["selective"] < 0.85 * held["none"]
    assert held["full"] < 0.5 * held["selective"]


def test_results_are_made_again_in_every_backward_pass(make_model: Any) -> None:
    model = make_model()
    model.config = model.config.model_copy(update={"activation_checkpointing": "selective"})
    x = torch.randn(1, 8, 16, dtype=torch.float64, requires_grad=True)
    hidden, _ = model(x)
    first, again = (torch.autograd.grad(hidden.square().sum(), x, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, again)


def test_results_are_made_again_once_a_pass_in_the_precision_of_the_forward_pass() -> None:
    x, made = torch.randn(4, 4, requires_grad=True), []

    def make() -> tuple[Tensor]:
        made.append((x @ x).dtype)
        return (x @ x,)

    def module(x: Tensor) -> Tensor:
        product = x @ x
        recomputable((product,), make)
        return (product * product.exp()).sum() + product.square().sum()

    with torch.autocast("cpu", torch.bfloat16):
        saved, recomputed = module(x), recomputing("selective")(module, x)
    expected = torch.autograd.grad(saved, x)[0]
    assert made == []
    for passes in (1, 2):
        assert torch.equal(torch.autograd.grad(recomputed, x, retain_graph=True)[0], expected)
        assert made == [torch.bfloat16] * passes


def test_nothing_is_kept_or_made_again_without_gradients(make_model: Any) -> None:
    model = make_model()
    x = torch.randn(1, 8, 16, dtype=torch.float64)
    with torch.no_grad(), Counting() as counting:
        expected, _ = model(x)
    model.config = model.config.model_copy(update={"activation_checkpointing": "full"})
    with torch.no_grad(), Counting() as again:
        found, _ = model(x)
    assert torch.equal(found, expected)
    assert again.calls == counting.calls
