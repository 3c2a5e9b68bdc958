"""The Decoder and Decoding interfaces: sequences continued token by token.

B = batch size, V = vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from modrwkv_core.errors import ComponentError

if TYPE_CHECKING:
    from modrwkv_core.interfaces.component import Backbone
    from modrwkv_core.interfaces.state import State

__all__ = ["BackboneDecoder", "Decoder", "Decoding"]


class Decoding(ABC):
    """A batch of sequences on their way, which others join and which they leave between steps.

    Use it in a ``with`` statement, or close it, to give back what it holds. The logits of a sequence do not depend on
    the others in the batch.
    """

    @abstractmethod
    def step(self, ids: Tensor) -> Tensor:
        """Read one id of each sequence, ``[B]``, and score the next: ``[B, V]``, valid until the next step."""

    @abstractmethod
    def state(self, rows: Sequence[int] | None = None) -> State:
        """Return an independent copy of the state of these rows of the batch, by default of all."""

    @abstractmethod
    def join(self, state: State) -> None:
        """Add the sequences of ``state``, which is copied, after those that are there."""

    @abstractmethod
    def keep(self, rows: Sequence[int]) -> None:
        """Let only these rows of the batch go on, in this order; none is an empty batch, which others may join."""

    def close(self) -> None:  # noqa: B027 (most have nothing to give back)
        """Give back what the sequences hold; they cannot go on."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Decoder(ABC):
    """A backbone's weights made ready for decoding. It does not follow later changes of the weights."""

    name: str
    """What computes, as users read it."""

    @abstractmethod
    def start(self, state: State) -> Decoding:
        """Continue the sequences of ``state``, which is copied."""


class BackboneDecoder(Decoder):
    """Decodes with the backbone's own forward pass, which serves every backbone on every device.

    Args:
        backbone: The backbone.
        weights: How its weights are to be stored: the type that they have, or ``auto`` for it.
        predict: Hidden vectors ``[B, D]`` to logits ``[B, V]``; by default the backbone's own projection.

    Raises:
        ComponentError: Another way to store them is asked for.
    """

    name = "the backbone's forward pass"

    def __init__(
        self,
        backbone: Backbone[Any],
        weights: str = "auto",
        predict: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        own = str(backbone.output_weight.dtype).removeprefix("torch.")
        if weights not in ("auto", own):
            raise ComponentError(
                f"weights {weights!r} are not supported here: decoding uses {self.name}",
                component=f"backbone/{backbone.config.type}",
                hint=f"use auto or {own}; `modrwkv doctor` says which decoders this machine has",
            )
        self.backbone = backbone
        self.predict = predict or backbone.logits

    def start(self, state: State) -> Decoding:
        """Continue the sequences of ``state``."""
        return _BackboneDecoding(self.backbone, self.predict, state)


class _BackboneDecoding(Decoding):
    def __init__(self, backbone: Backbone[Any], predict: Callable[[Tensor], Tensor], state: State) -> None:
        self._backbone = backbone
        self._predict = predict
        self._state: State | None = state  # None is an empty batch, which not every State can be

    @torch.inference_mode()
    def step(self, ids: Tensor) -> Tensor:
        hidden, self._state = self._backbone(self._backbone.embed(ids[:, None]), state=self._state)
        return self._predict(hidden[:, 0])

    def state(self, rows: Sequence[int] | None = None) -> State:
        assert self._state is not None, "the batch is empty"
        return self._state.fork() if rows is None else self._state.select(rows)

    def join(self, state: State) -> None:
        self._state = state.fork() if self._state is None else type(state).stack([self._state, state])

    def keep(self, rows: Sequence[int]) -> None:
        if self._state is not None:
            self._state = self._state.select(rows) if rows else None
