"""The Decoder and Decoding interfaces: sequences continued token by token.

B = batch size, V = vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
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
    """A batch of sequences on their way. Use it in a ``with`` statement, or close it, to give back what it holds."""

    @abstractmethod
    def step(self, ids: Tensor) -> Tensor:
        """Read one id of each sequence, ``[B]``, and score the next: ``[B, V]``, valid until the next step."""

    @abstractmethod
    def state(self) -> State:
        """Return an independent copy of the state."""

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
        weights: How its weights are to be stored; ``auto`` keeps them.
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
        if weights != "auto":
            raise ComponentError(
                f"weights {weights!r} are not supported here: decoding uses {self.name}",
                component=f"backbone/{backbone.config.type}",
                hint="leave them at 'auto'; `modrwkv doctor` says which decoders this machine has",
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
        self._state = state

    @torch.inference_mode()
    def step(self, ids: Tensor) -> Tensor:
        hidden, self._state = self._backbone(self._backbone.embed(ids[:, None]), state=self._state)
        return self._predict(hidden[:, 0])

    def state(self) -> State:
        return self._state.fork()
