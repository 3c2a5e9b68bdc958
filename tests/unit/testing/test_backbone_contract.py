from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import pytest
import torch
from modrwkv_kernels import CuSeqlens
from torch import Tensor

from modrwkv_core.interfaces.state import State
from modrwkv_core.plugin import ComponentSpec
from modrwkv_core.testing import BackboneContract
from modrwkv_core.testing.fakes import FakeBackbone, FakeState

Broken = Callable[[type[Any]], set[str]]


class Forgetful(FakeBackbone):
    """Begins anew with every call."""

    def forward(
        self, x: Tensor, state: State | None = None, cu_seqlens: CuSeqlens | None = None
    ) -> tuple[Tensor, State]:
        return super().forward(x, None, cu_seqlens)


class Careless(FakeBackbone):
    """Reads packed sequences as one."""

    def forward(
        self, x: Tensor, state: State | None = None, cu_seqlens: CuSeqlens | None = None
    ) -> tuple[Tensor, State]:
        hidden, last = super().forward(x, state.select([0]) if state and cu_seqlens is not None else state)
        assert isinstance(last, FakeState)
        return hidden, last if cu_seqlens is None else last.fork(cu_seqlens.sequences)


class Clairvoyant(FakeBackbone):
    """Reads every sequence backwards."""

    def _read(self, x_BTD: Tensor, hidden_BD: Tensor) -> tuple[Tensor, Tensor]:
        hidden, last = super()._read(x_BTD.flip(1), hidden_BD)
        return hidden.flip(1), last


class Mixing(FakeBackbone):
    """Lets rows hear each other."""

    def _read(self, x_BTD: Tensor, hidden_BD: Tensor) -> tuple[Tensor, Tensor]:
        return super()._read(x_BTD + x_BTD.mean(dim=0, keepdim=True), hidden_BD)


class InPlace(FakeBackbone):
    """Writes the new state over the old one."""

    def _read(self, x_BTD: Tensor, hidden_BD: Tensor) -> tuple[Tensor, Tensor]:
        hidden, last = super()._read(x_BTD, hidden_BD.clone())
        if not hidden_BD.requires_grad:
            hidden_BD.copy_(last.detach())
        return hidden, last.detach()


class Joining(FakeBackbone):
    """Trains on packed sequences as if they were one."""

    def training_pass(self, x: Tensor, cu_seqlens: CuSeqlens) -> Tensor:
        hidden: Tensor = self(x)[0]
        return hidden


class Misnaming(FakeBackbone):
    def lr_multipliers(self) -> dict[str, float]:
        return {"no.such.weight": 2.0}


class Shuffling(FakeState):
    def fork(self, copies: int = 1) -> Self:
        return type(self)(self.hidden.repeat(copies, 1))


class Reversed(FakeState):
    @classmethod
    def stack(cls, states: Sequence[Self]) -> Self:
        return super().stack(states[::-1])


class Lossy(FakeState):
    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        return cls(torch.zeros_like(tensors["hidden"]))


class Trusting(FakeState):
    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        return cls(tensors.get("hidden", torch.zeros(3, 8)))


class Growing(FakeState):
    saved = 0

    def tensors(self) -> dict[str, Tensor]:
        Growing.saved += 1
        return {"hidden": self.hidden, "history": torch.zeros(Growing.saved)}


def contract(backbone: type[FakeBackbone] = FakeBackbone, state: type[FakeState] = FakeState) -> type[BackboneContract]:
    class Made(backbone):  # type: ignore[misc, valid-type]
        def _read(self, x_BTD: Tensor, hidden_BD: Tensor) -> tuple[Tensor, Tensor]:
            return super()._read(x_BTD, hidden_BD)

        def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, State]:
            hidden, last = super().forward(*args, **kwargs)
            assert isinstance(last, FakeState)
            return hidden, state(last.hidden)

    class Contract(BackboneContract):
        plugin = __name__
        name = "fake"
        spec = ComponentSpec(  # type: ignore[assignment]
            api=1,
            kind="backbone",
            name="fake",
            summary="a gated recurrent unit",
            config="modrwkv_core.testing.fakes:FakeBackboneConfig",
            implementation="modrwkv_core.testing.fakes:FakeBackbone",
        )

        def build(self, config: Any) -> Any:
            return Made(config, self.vocab_size)

    return Contract


def test_the_fake_backbone_keeps_the_contract(broken: Broken) -> None:
    assert broken(contract()) == set()


@pytest.mark.parametrize(
    ("backbone", "failure"),
    [
        (Forgetful, "prefill_in_chunks_equals_prefill_in_one_go"),
        (Careless, "packed_sequences_equal_the_sequences_alone"),
        (Clairvoyant, "the_future_changes_nothing_before_it"),
        (Mixing, "sequence_in_a_batch_equals_the_sequence_alone"),
        (InPlace, "using_a_state_leaves_it_as_it_was"),
        (Joining, "training_passes_equal_the_forward_pass"),
        (Misnaming, "optimizer_settings_name_parameters"),
    ],
)
def test_a_mistake_of_the_backbone_fails_its_check(broken: Broken, backbone: type[FakeBackbone], failure: str) -> None:
    assert failure in broken(contract(backbone))


@pytest.mark.parametrize(
    ("state", "failures"),
    [
        (Shuffling, {"states_fork_stack_and_select"}),
        (Reversed, {"states_fork_stack_and_select"}),
        (Growing, {"states_are_saved_whole_and_of_constant_size"}),
        (Lossy, {"states_are_saved_whole_and_of_constant_size"}),
        (Trusting, {"damaged_states_are_refused"}),
    ],
)
def test_a_mistake_of_the_state_fails_its_check_only(
    broken: Broken, state: type[FakeState], failures: set[str]
) -> None:
    assert broken(contract(state=state)) == failures
