"""The neural components: Processor, Encoder, Compressor, Adapter, Backbone, Head.

All but the processor are :class:`torch.nn.Module`. Their constructors build the module with fresh weights from the
configuration alone; :meth:`Component.load_pretrained` then reads pretrained weights if the configuration names any.
A run that is loaded from its own checkpoint never calls it.

N = media items, L = the longest, B = batch size, T = tokens, D = hidden size of the backbone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from modrwkv_kernels import CuSeqlens
from torch import Tensor, nn

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.config import (
    AdapterConfig,
    BackboneConfig,
    CompressorConfig,
    EncoderConfig,
    HeadConfig,
    QueryHeadConfig,
    TokenHeadConfig,
    TranscriptHeadConfig,
)
from modrwkv_core.interfaces.convolutions import exact_convolutions
from modrwkv_core.interfaces.decoding import BackboneDecoder, Decoder
from modrwkv_core.interfaces.guard import Origin
from modrwkv_core.interfaces.record import Media, Text
from modrwkv_core.interfaces.state import State
from modrwkv_core.interfaces.values import Features, MediaItem

__all__ = [
    "INITIAL_STATE",
    "Adapter",
    "Backbone",
    "Component",
    "Compressor",
    "Encoder",
    "Head",
    "Processor",
    "Query",
    "QueryHead",
    "TokenHead",
    "TranscriptHead",
]

INITIAL_STATE: Final = "initial_state."
"""Names of the parameters of a backbone's initial state begin so."""

SignalT = TypeVar("SignalT")
EncoderConfigT = TypeVar("EncoderConfigT", bound=EncoderConfig)
CompressorConfigT = TypeVar("CompressorConfigT", bound=CompressorConfig)
AdapterConfigT = TypeVar("AdapterConfigT", bound=AdapterConfig)
BackboneConfigT = TypeVar("BackboneConfigT", bound=BackboneConfig)
HeadConfigT = TypeVar("HeadConfigT", bound=HeadConfig)
TokenHeadConfigT = TypeVar("TokenHeadConfigT", bound=TokenHeadConfig)
TranscriptHeadConfigT = TypeVar("TranscriptHeadConfigT", bound=TranscriptHeadConfig)
QueryHeadConfigT = TypeVar("QueryHeadConfigT", bound=QueryHeadConfig)


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

    def parts(self, signal: SignalT) -> Iterator[MediaItem | Text | Media]:
        """Yield what stands for ``signal`` in the token stream, in order.

        That is one item, unless a processor overrides this to divide long signals: into items, each a medium of its
        own; texts, such as times, which no head learns to say; and media of the configuration's ``other_modalities``,
        such as the sound of a film, which are read as if they stood in the conversation, without augmentations.
        Yield each part when it is asked for, so that a long prompt needs the memory of a few.

        Raises:
            DataError: See :meth:`__call__`.
        """
        yield self(signal)


class Component(nn.Module):
    """Base of all neural components.

    Attributes:
        origin: Who provides it, for errors; the core sets it.
    """

    origin: Origin | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module. On CPUs whose convolutions in 16 bits are wrong, it computes those in float32."""
        with exact_convolutions(self):
            return super().__call__(*args, **kwargs)

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

    def match_embeddings(self, mean: Tensor, std: Tensor) -> None:
        """Begin with an output that is distributed like text embeddings, if the configuration asks for it.

        Called once before training, with the weights of a new run.

        Args:
            mean: Of the backbone's text embeddings, ``[out_dim]``.
            std: Their standard deviation, ``[out_dim]``.
        """

    @abstractmethod
    def forward(self, features: Features) -> Features:
        """Adapt ``features``, ``[N, L, in_dim]`` to ``[N, L', out_dim]``."""


class Backbone(Component, ABC, Generic[BackboneConfigT]):
    """The language model's layers: a stream of vectors, and a state that says all of what was read.

    Contracts: prefill in any chunking equals prefill in one go; a sequence in a batch equals the
    same sequence alone; at the
    boundaries of a packed batch the whole state resets; state in and state out compose.

    Attributes:
        hidden_size: D.
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
            state: Where to begin, of batch size B (one for each packed sequence); None begins anew.
            cu_seqlens: Where packed sequences lie, beside ``x``. Made once per batch; read it without copying from the
                device to the host.

        Returns:
            Hidden vectors of the shape of ``x``, and the state after the last token of each sequence.
        """

    def training_pass(self, x: Tensor, cu_seqlens: CuSeqlens) -> Tensor:
        """Read packed sequences that a backward pass follows: as :meth:`forward` from the beginning, without the state.

        A backbone may have captured or compiled this. Trainers take one pass at a time, forward and backward.

        Args:
            x: ``[1, tokens, D]``.
            cu_seqlens: Where the sequences lie.

        Returns:
            Hidden vectors of the shape of ``x``, valid until the next call.
        """
        hidden: Tensor = self(x, cu_seqlens=cu_seqlens)[0]
        return hidden

    def prefill(
        self, x: Tensor, state: State | None = None, cu_seqlens: CuSeqlens | None = None
    ) -> tuple[Tensor, State]:
        """Process a prompt: as :meth:`forward`, but return only the last hidden vectors.

        Returns:
            The last hidden vector of each sequence, ``[B, D]``, and the state after it.
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
    def init_state(self, batch_size: int) -> State:
        """Return the state of ``batch_size`` sequences that have read nothing."""

    def set_initial_state(self, state: State) -> None:
        """Let every sequence begin with ``state``, of batch size 1: :meth:`init_state` returns independent copies.

        Its tensors are copied into parameters of the backbone, which can learn; their names begin with
        :data:`INITIAL_STATE`. Those of an earlier call are replaced.

        Raises:
            ComponentError: The state is not one of this backbone, or the backbone always begins anew.
        """
        raise ComponentError(
            "the backbone has no initial state that can be set",
            component=f"backbone/{self.config.type}",
            hint="fine-tune it in another way, or use another backbone",
        )

    def decoder(self, weights: str = "auto") -> Decoder:
        """Make the weights ready for decoding token by token.

        Args:
            weights: How they are stored for it. ``auto`` loses nothing.

        Raises:
            ComponentError: They cannot be stored so here.
        """
        return BackboneDecoder(self, weights)

    def shardable_blocks(self) -> Sequence[nn.Module]:
        """Return the modules that training on several devices gathers one after the other, each called as a module.

        A backbone without such modules is gathered as a whole.
        """
        return ()

    def kernels(self) -> dict[str, str]:
        """Return the backend that serves each accelerated operation where the module lies, for a run's lock."""
        return {}

    def product_parameters(self) -> set[str]:
        """Names of the parameters outside of linear and convolutional layers that only matrix products read.

        A phase in bfloat16 rounds them once after each step; autocast would do it in each product.
        """
        return set()

    @abstractmethod
    def weight_decay_parameters(self) -> set[str]:
        """Names of the parameters that weight decay may touch (the large matrices)."""

    @abstractmethod
    def lr_multipliers(self) -> dict[str, float]:
        """Names of the parameters whose learning rate is scaled, with the factor."""


@dataclass(frozen=True, slots=True)
class Query:
    """A place in the token stream where a query head answers.

    Attributes:
        position: Index of the query token in the (packed) stream.
        signal: The latest signal of the head's modality before the query, as the head's configuration prepared it.
        target: What the head should predict, as its configuration prepared it; None at inference.
    """

    position: int
    signal: Any
    target: Any


class Head(Component, ABC, Generic[HeadConfigT]):
    """Hidden vectors to predictions. Derive it from :class:`TokenHead`, :class:`QueryHead`, :class:`TranscriptHead`."""

    def __init__(self, config: HeadConfigT, backbone: Backbone[Any]) -> None:
        super().__init__()
        self.config = config
        # In a tuple, because as a submodule the backbone would be saved and trained twice.
        self._backbone = (backbone,)

    @property
    def backbone(self) -> Backbone[Any]:
        """The backbone whose hidden vectors the head reads; it is not part of the head."""
        return self._backbone[0]


class TokenHead(Head[TokenHeadConfigT], ABC, Generic[TokenHeadConfigT]):
    """Predicts the next token at every position."""

    @abstractmethod
    def supervise(self, hidden: Tensor, ids: Tensor) -> Tensor:
        """Return the mean loss over n supervised positions.

        Args:
            hidden: ``[n, D]``, the backbone's output at the positions before the supervised tokens.
            ids: ``[n]``, int64: the tokens that follow.

        Returns:
            A scalar.
        """

    @abstractmethod
    def predict(self, hidden: Tensor) -> Tensor:
        """Return the logits of the next token: ``[..., D]`` to ``[..., vocab_size]``."""

    def decoder(self, weights: str = "auto") -> Decoder:
        """Make backbone and head ready for decoding token by token; see :meth:`Backbone.decoder`."""
        return BackboneDecoder(self.backbone, weights, predict=self.predict)


class TranscriptHead(Head[TranscriptHeadConfigT], ABC, Generic[TranscriptHeadConfigT]):
    """Says which tokens a medium holds, all at once, from the backbone's output at its place in the stream."""

    @abstractmethod
    def supervise(self, hidden: Features, transcripts: Sequence[Tensor]) -> Tensor:
        """Return the mean loss over N media.

        Args:
            hidden: ``values [N, L, D]``, the backbone's output at the vectors of each medium.
            transcripts: For each medium, the ids of its words ``[n]``, int64, at least one.

        Returns:
            A scalar.
        """

    @abstractmethod
    def predict(self, hidden: Features) -> list[list[int]]:
        """Return the ids of the words of N media.

        Args:
            hidden: ``values [N, L, D]``, the backbone's output at the vectors of each medium.
        """


class QueryHead(Head[QueryHeadConfigT], ABC, Generic[QueryHeadConfigT]):
    """Answers queries about signals."""

    @abstractmethod
    def supervise(self, hidden: Tensor, queries: Sequence[Query]) -> Tensor:
        """Return the mean loss over n queries.

        Args:
            hidden: ``[n, D]``, the backbone's output at the query tokens.
            queries: n queries with targets.

        Returns:
            A scalar.
        """

    @abstractmethod
    def predict(self, hidden: Tensor, queries: Sequence[Query]) -> Sequence[Any]:
        """Answer n queries.

        Args:
            hidden: ``[n, D]``, the backbone's output at the query tokens.
            queries: n queries; their targets are None.

        Returns:
            n predictions as plain values: texts, numbers or NumPy arrays, in the form of targets. The head of a
            ``ForecastHeadConfig`` may give a :class:`~modrwkv_core.interfaces.forecast.Forecast`, with quantiles.
        """
