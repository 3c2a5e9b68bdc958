"""A small backbone for the tests of whatever stands beside one: a GRU that keeps the whole contract.

B = batch size, T = tokens, D = hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, Self

import torch
from modrwkv_kernels import CuSeqlens
from torch import Tensor, nn

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.component import Backbone
from modrwkv_core.interfaces.config import BackboneConfig
from modrwkv_core.interfaces.state import State

__all__ = ["FakeBackbone", "FakeBackboneConfig", "FakeState"]


class FakeBackboneConfig(BackboneConfig):
    """Configuration of :class:`FakeBackbone`."""

    type: Literal["fake"] = "fake"

    hidden_size: int = 8
    """D."""

    @property
    def in_dim(self) -> int:
        """D."""
        return self.hidden_size

    @property
    def fixed_vocab_size(self) -> int | None:
        """None: the tokenizer decides."""
        return None


class FakeState(State):
    """The hidden vector of each sequence.

    Args:
        hidden: ``[B, D]``.
    """

    content = "fake state"

    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden

    @property
    def batch_size(self) -> int:
        """B."""
        return len(self.hidden)

    def fork(self, copies: int = 1) -> Self:
        """Repeat every sequence."""
        return type(self)(self.hidden.repeat_interleave(copies, dim=0))

    @classmethod
    def stack(cls, states: Sequence[Self]) -> Self:
        """Join batches."""
        return cls(torch.cat([state.hidden for state in states]))

    def select(self, indices: Sequence[int]) -> Self:
        """Copy sequences."""
        return type(self)(self.hidden[list(indices)])

    def to(self, device: torch.device | str) -> Self:
        """Move to ``device``."""
        return type(self)(self.hidden.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """Return the hidden vectors by name."""
        return {"hidden": self.hidden}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Return the state of these tensors."""
        return cls(tensors["hidden"])


class FakeBackbone(Backbone[FakeBackboneConfig]):
    """A gated recurrent unit behind a linear layer, between an embedding and an output projection."""

    def __init__(self, config: FakeBackboneConfig, vocab_size: int = 32) -> None:
        super().__init__(config, vocab_size)
        self.hidden_size = config.hidden_size
        self.embedding = nn.Embedding(vocab_size, config.hidden_size)
        self.input = nn.Linear(config.hidden_size, config.hidden_size)
        self.cell = nn.GRUCell(config.hidden_size, config.hidden_size)
        self.head = nn.Linear(config.hidden_size, vocab_size, bias=False)
        self.initial_state: nn.ParameterDict | None = None

    def embed(self, ids: Tensor) -> Tensor:
        """Look up ``ids``."""
        embeddings: Tensor = self.embedding(ids)
        return embeddings

    def forward(
        self, x: Tensor, state: State | None = None, cu_seqlens: CuSeqlens | None = None
    ) -> tuple[Tensor, State]:
        """Read ``x`` token by token."""
        if cu_seqlens is None:
            starts = state if state is not None else self.init_state(len(x))
            assert isinstance(starts, FakeState)
            hidden_BTD, last_BD = self._read(x, starts.hidden)
            return hidden_BTD, FakeState(last_BD)
        ends = cu_seqlens.on_host().tolist()
        starts = state if state is not None else self.init_state(len(ends) - 1)
        assert isinstance(starts, FakeState)
        read = [
            self._read(x[:, begin:end], starts.hidden[row : row + 1]) for row, (begin, end) in enumerate(pairwise(ends))
        ]
        return torch.cat([hidden for hidden, _ in read], dim=1), FakeState(torch.cat([last for _, last in read]))

    def _read(self, x_BTD: Tensor, hidden_BD: Tensor) -> tuple[Tensor, Tensor]:
        steps = []
        for x_BD in self.input(x_BTD).unbind(1):
            hidden_BD = self.cell(x_BD, hidden_BD)
            steps.append(hidden_BD)
        return torch.stack(steps, dim=1), hidden_BD

    @property
    def output_weight(self) -> Tensor:
        """The output projection."""
        return self.head.weight

    def logits(self, hidden: Tensor) -> Tensor:
        """Project to the vocabulary."""
        scores: Tensor = self.head(hidden)
        return scores

    def init_state(self, batch_size: int) -> FakeState:
        """Return zeros, or copies of the state that is set."""
        if self.initial_state is not None:
            return FakeState(self.initial_state["hidden"]).fork(batch_size)
        return FakeState(self.embedding.weight.new_zeros(batch_size, self.hidden_size))

    def set_initial_state(self, state: State) -> None:
        """Begin with ``state``."""
        if not isinstance(state, FakeState) or state.hidden.shape != (1, self.hidden_size):
            raise ComponentError("the state is not one of this backbone", component="backbone/fake")
        self.initial_state = nn.ParameterDict({"hidden": state.hidden.detach().clone()})

    def weight_decay_parameters(self) -> set[str]:
        """Name the matrices."""
        return {name for name, parameter in self.named_parameters() if parameter.ndim == 2}

    def lr_multipliers(self) -> dict[str, float]:
        """Scale nothing."""
        return {}
