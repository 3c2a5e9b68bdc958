"""The neural components: Processor, Encoder, Compressor, Adapter, Backbone, Head.

All but the processor are :class:`torch.nn.Module`. Their constructors build the module with fresh weights from the
configuration alone; :meth:`Component.load_pretrained` then reads pretrained weights if the configuration names any.
A run that is loaded from its own checkpoint never calls it.

N = media items, L = the longest, B = rows, T = tokens, D = hidden size of the backbone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from modrwkv_kernels import CuSeqlens
from torch import Tensor, nn

from modrwkv_core.interfaces.config import (
    AdapterConfig,
    BackboneConfig,
    CompressorConfig,
    EncoderConfig,
    HeadConfig,
)
from modrwkv_core.interfaces.decoding import BackboneDecoder, Decoder
from modrwkv_core.interfaces.guard import Origin
from modrwkv_core.interfaces.state import State
from modrwkv_core.interfaces.values import Features, MediaItem

__all__ = ["Adapter", "Backbone", "Component", "Compressor", "Encoder", "Head", "Processor", "Query"]

SignalT = TypeVar("SignalT")
EncoderConfigT = TypeVar("EncoderConfigT", bound=EncoderConfig)
CompressorConfigT = TypeVar("CompressorConfigT", bound=CompressorConfig)
AdapterConfigT = TypeVar("AdapterConfigT", bound=AdapterConfig)
BackboneConfigT = TypeVar("BackboneConfigT", bound=BackboneConfig)
HeadConfigT = TypeVar("HeadConfigT", bound=HeadConfig)
TargetsT = TypeVar("TargetsT")


class Processor(ABC, Generic[EncoderConfigT, SignalT]):
    """Turns one signal into a media item. Picklable, on the CPU, without modules; runs in loader workers.

    Attributes:
        origin: Who provides it, for errors; the core sets it.
    """

    origin: Origin | None = None

    def __init__(self, config: EncoderConfigT) -> None:
        self.config = config

    @abstractmethod
    def __call__(self, signal: SignalT) -> MediaItem:
        """Make tensors of ``signal``.

        Raises:
            DataError: The signal cannot be used with this encoder (too short, wrong number of channels, ...).
        """


class Component(nn.Module):
    """Base of all neural components.

    Attributes:
        origin: Who provides it, for errors; the core sets it.
    """

    origin: Origin | None = None

    def load_pretrained(self) -> None:
        """Load the pretrained weights that the configuration names; components without any do nothing.

        Raises:
            CheckpointError: Tensors are missing, unexpected or of another shape; nothing has been loaded then.
        """

    def pretrained_files(self) -> tuple[Path, ...]:
        """Return the files that :meth:`load_pretrained` reads, for a run's lock."""
        return ()


class Encoder(Component, ABC, Generic[EncoderConfigT]):
    """Media items to feature vectors."""

    def __init__(self, config: EncoderConfigT) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, items: Sequence[MediaItem]) -> Features:
        """Encode ``items``, which lie on the module's device.

        Returns:
            Features with ``values [N, L, config.out_dim]`` and ``lengths[i] == config.out_length(items[i].length)``.
        """


class Compressor(Component, ABC, Generic[CompressorConfigT]):
    """Features to a shorter sequence of features."""

    def __init__(self, config: CompressorConfigT, in_dim: int) -> None:
        super().__init__()
        self.config = config
        self.in_dim = in_dim

    @abstractmethod
    def forward(self, features: Features) -> Features:
        """Compress ``features``, ``[N, L, in_dim]`` to ``[N, L', config.out_dim(in_dim)]``."""


class Adapter(Component, ABC, Generic[AdapterConfigT]):
    """Features to vectors of the backbone's hidden size."""

    def __init__(self, config: AdapterConfigT, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.config = config
        self.in_dim = in_dim
        self.out_dim = out_dim

    @abstractmethod
    def forward(self, features: Features) -> Features:
        """Adapt ``features``, ``[N, L, in_dim]`` to ``[N, L', out_dim]``."""


class Backbone(Component, ABC, Generic[BackboneConfigT]):
    """The recurrent backbone: a stream of vectors through layers of constant-size state.

    Contracts: prefill in any chunking equals prefill in one go; a row in a batch equals the same row alone; at the
    boundaries of a packed batch the whole state resets; state in and state out compose.

    Attributes:
        width: D.
        vocab_size: Rows of the embedding and of the output projection.
    """

    hidden_size: int
    vocab_size: int

    def __init__(self, config: BackboneConfigT, vocab_size: int) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Look up ``ids [B, T]``: ``[B, T, D]``."""

    @abstractmethod
    def forward(
        self, x: Tensor, state: State | None = None, cu_seqlens: CuSeqlens | None = None
    ) -> tuple[Tensor, State]:
        """Read ``x``.

        Args:
            x: ``[B, T, D]``, or ``[1, tokens, D]`` with several sequences packed one after the other.
            state: Where to begin, B rows (one for each packed sequence); None begins anew.
            cu_seqlens: Where packed sequences lie, beside ``x``. Made once per batch; read it without copying from the
                device to the host.

        Returns:
            Hidden vectors of the shape of ``x``, and the state after the last token of each sequence.
        """

    def prefill(
        self, x: Tensor, state: State | None = None, cu_seqlens: CuSeqlens | None = None
    ) -> tuple[Tensor, State]:
        """Process a prompt: as :meth:`forward`, but return only the last hidden vectors.

        Returns:
            The last hidden vector of each row or packed sequence, ``[B, D]``, and the state after it.
        """
        hidden, after = self(x, state=state, cu_seqlens=cu_seqlens)
        return (hidden[:, -1] if cu_seqlens is None else hidden[0, cu_seqlens.last]), after

    @property
    @abstractmethod
    def output_weight(self) -> Tensor:
        """The output projection, ``[vocab_size, D]``."""

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Score the next token by :attr:`output_weight`: ``[..., D]`` to ``[..., vocab_size]``."""

    @abstractmethod
    def init_state(self, rows: int) -> State:
        """Return the state of ``rows`` sequences that have read nothing."""

    def decoder(self, weights: str = "auto") -> Decoder:
        """Make the weights ready for decoding token by token.

        Args:
            weights: How they are stored for it. ``auto`` loses nothing.

        Raises:
            ComponentError: They cannot be stored so here.
        """
        return BackboneDecoder(self, weights)

    def kernels(self) -> dict[str, str]:
        """Return the backend that serves each accelerated operation where the module lies, for a run's lock."""
        return {}

    @abstractmethod
    def weight_decay_parameters(self) -> set[str]:
        """Names of the parameters that weight decay may touch (the large matrices)."""

    @abstractmethod
    def lr_multipliers(self) -> dict[str, float]:
        """Names of the parameters whose learning rate is scaled, with the factor."""


@dataclass(frozen=True, slots=True)
class Query:
    """A place in the token stream where a head other than the language model answers.

    Attributes:
        position: Index of the query token in the (packed) stream.
        context: The signal that the question is about: the last one before the query.
        target: The true answer in the units of the signal; None at inference.
    """

    position: int
    context: Any
    target: Any


class Head(Component, ABC, Generic[HeadConfigT, TargetsT]):
    """Hidden vectors to an answer."""

    def __init__(self, config: HeadConfigT, backbone: Backbone[Any]) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def loss(self, hidden: Tensor, targets: TargetsT) -> Tensor:
        """Mean loss over n answers.

        Args:
            hidden: ``[n, D]``, the backbone's output at the answers' positions.
            targets: What the head should have said; for the language model the next ids ``[n]``, for other heads n
                queries.

        Returns:
            A scalar.
        """
