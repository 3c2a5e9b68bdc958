"""RWKV-7 as a backbone: embedding, blocks, output projection, and an initial state if one is set.

Its ``state_dict`` is the official layout, besides the initial state.

B = batch size, T = tokens, D = hidden size, S = batch size or packed sequences.
"""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import Self, cast

import torch
from modrwkv_kernels import CuSeqlens, available_backends, explain_dispatch
from torch import Tensor, nn

from modrwkv_core.backbones.rwkv7.block import Block, LayerState
from modrwkv_core.backbones.rwkv7.checkpoint import load_into
from modrwkv_core.backbones.rwkv7.config import RWKV7Config
from modrwkv_core.backbones.rwkv7.decoder import CompiledDecoder
from modrwkv_core.backbones.rwkv7.graph_decoder import GraphDecoder
from modrwkv_core.backbones.rwkv7.init import (
    initialize_channel_mix,
    initialize_embedding,
    initialize_head,
    initialize_time_mix,
)
from modrwkv_core.backbones.rwkv7.linear import Linear
from modrwkv_core.backbones.rwkv7.prefill_graph import PrefillGraph, prefill_graph
from modrwkv_core.backbones.rwkv7.recompute import recomputing
from modrwkv_core.backbones.rwkv7.state import RWKV7State
from modrwkv_core.backbones.rwkv7.token_shift import Tail
from modrwkv_core.backbones.rwkv7.training_graphs import training_graphs
from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.component import INITIAL_STATE, Backbone
from modrwkv_core.interfaces.decoding import Decoder
from modrwkv_core.interfaces.fresh_weights import draws_weights
from modrwkv_core.interfaces.pretrained import weight_files
from modrwkv_core.interfaces.state import State

__all__ = ["RWKV7"]

_COMPONENT = "backbone/rwkv7"
MAX_PREFILL_TOKENS = (
    2048  # tokens of a prompt that is read chunk by chunk; the device takes longer for more than Python does
)


class RWKV7(Backbone[RWKV7Config]):
    """RWKV-7 "Goose" (arXiv 2503.14456).

    From scratch the constructor initializes by the official recipe. If the configuration names weights, all parameters
    are NaN until :meth:`load_pretrained` or a run's checkpoint fills them: the recipe's orthogonal matrices would waste
    minutes.

    Args:
        config: Sizes, or weights that have them.
        vocab_size: Rows of the embedding and of the output projection.

    Raises:
        CheckpointError: Sizes must be read from the weights, which are missing, damaged or not an RWKV-7's.
        ComponentError: Sizes contradict the weights, or the kernel cannot be used here.
    """

    config: RWKV7Config
    initial_state: nn.ParameterDict | None

    def __init__(self, config: RWKV7Config, vocab_size: int) -> None:
        sizes = config.sizes()
        super().__init__(config.resolved(), vocab_size)
        if sizes.vocab not in (None, vocab_size):
            raise ComponentError(
                f"the embedding has {sizes.vocab} rows, but {vocab_size} are asked for", component=_COMPONENT
            )
        _check_kernel(config.kernel, sizes.head_dim)
        self.sizes = sizes
        self.hidden_size = sizes.hidden_size
        self.emb = nn.Embedding(vocab_size, sizes.hidden_size)
        self.blocks = nn.ModuleList(Block(sizes, layer, config.kernel) for layer in range(sizes.num_layers))
        self.ln_out = nn.LayerNorm(sizes.hidden_size)
        self.head = Linear(sizes.hidden_size, vocab_size)
        self.register_module("initial_state", None)

        if config.weights is None and draws_weights():
            self._initialize()
        else:
            for parameter in self.parameters():
                nn.init.constant_(parameter, math.nan)

    @classmethod
    def from_checkpoint(cls, path: Path | str, *, dtype: torch.dtype = torch.float32, kernel: str = "auto") -> Self:
        """Load official weights, ``.pth`` or ``.safetensors``; all sizes are read from the tensors.

        Args:
            path: The file.
            dtype: Type of the parameters, whatever that of the file.
            kernel: Backend of the recurrence.

        Raises:
            CheckpointError: The file is missing, damaged, or not a whole RWKV-7.
            ComponentError: The kernel cannot be used here.
        """
        config = RWKV7Config(weights=Path(path), kernel=kernel).resolved()
        assert config.vocab is not None
        with torch.device("meta"):
            model = cls(config, config.vocab)
        model.to(dtype)
        model.load_pretrained()
        return model

    def load_pretrained(self) -> None:
        """Load the weights that the configuration names, if any.

        Raises:
            CheckpointError: The file is missing or damaged, or tensors are missing, unexpected or of another shape;
                nothing has been loaded then.
        """
        if self.config.weights is not None:
            load_into(self, self.config.weights)

    def pretrained_files(self) -> tuple[Path, ...]:
        """Return the files of the weights, if the configuration names any."""
        return () if self.config.weights is None else tuple(weight_files(str(self.config.weights)))

    def kernels(self) -> dict[str, str]:
        """Return the backend that serves the recurrence."""
        dispatch = explain_dispatch(self.config.kernel, device=self.emb.weight.device, head_size=self.sizes.head_dim)
        return {"wkv7": dispatch.chosen}

    def decoder(self, weights: str = "auto") -> Decoder:
        """Make the weights ready for decoding.

        On the CPU :class:`~modrwkv_core.backbones.rwkv7.decoder.CompiledDecoder` serves, on a GPU
        :class:`~modrwkv_core.backbones.rwkv7.graph_decoder.GraphDecoder`; where neither can, the backbone's own forward
        pass.

        Raises:
            ComponentError: The weights cannot be stored so here.
        """
        if CompiledDecoder.unavailable_reason(self) is None:
            return CompiledDecoder(self, weights)
        if GraphDecoder.unavailable_reason(self) is None:
            return GraphDecoder(self, weights)
        return super().decoder(weights)

    def embed(self, ids: Tensor) -> Tensor:
        """Look up ``ids [B, T]``: raw embeddings ``[B, T, D]``, which :meth:`forward` normalizes.

        Vectors of other modalities are put among these.
        """
        embeddings: Tensor = self.emb(ids)
        return embeddings

    def forward(
        self, x: Tensor, state: State | None = None, cu_seqlens: CuSeqlens | None = None
    ) -> tuple[Tensor, RWKV7State]:
        """Run ``x`` through all layers.

        Args:
            x: ``[B, T, D]``, or ``[1, tokens, D]`` with several sequences packed one after another; T >= 1.
            state: States of the B sequences (or of the packed ones) before ``x``; None for the initial state. Never
                written to.
            cu_seqlens: Where packed sequences lie, beside ``x``; none of them is empty.

        Returns:
            Hidden vectors of the shape of ``x``, normalized by the model's last layer norm, and the state after the
            last token of each sequence.

        Raises:
            ComponentError: ``x``, ``state`` and ``cu_seqlens`` do not fit the model or each other.
        """
        return self.run(x, self._checked(x, state, cu_seqlens), cu_seqlens)

    def training_pass(self, x: Tensor, cu_seqlens: CuSeqlens) -> Tensor:
        """As :meth:`forward` from the initial state, but return only the hidden vectors, ``[1, tokens, D]``.

        On a GPU, forward and backward pass are replayed as CUDA graphs once batches of that length have come before.
        Vectors of a replayed pass are valid until the next one.
        """
        if torch.is_grad_enabled() and x.is_cuda and (graphs := training_graphs(self)) is not None:
            self._checked(x, None, cu_seqlens)
            if (hidden := graphs(self, x, cu_seqlens)) is not None:
                return hidden
        return super().training_pass(x, cu_seqlens)

    def prefill(
        self, x: Tensor, state: State | None = None, cu_seqlens: CuSeqlens | None = None
    ) -> tuple[Tensor, RWKV7State]:
        """As :meth:`forward`, but return only the last hidden vector of each sequence, and the state.

        On a GPU a single sequence is prefilled in a CUDA graph from the second call on, without gradients.
        """
        before = self._checked(x, state, cu_seqlens)
        if (
            before.batch_size == 1
            and x.shape[1] <= MAX_PREFILL_TOKENS
            and (graph := self._prefill_graph(x)) is not None
        ):
            return graph(x, before)
        return self.run(x, before, cu_seqlens, Tail(cu_seqlens))

    def run(
        self, x: Tensor, before: RWKV7State, cu_seqlens: CuSeqlens | None, tail: Tail | None = None
    ) -> tuple[Tensor, RWKV7State]:
        """Compute :meth:`forward`, or with ``tail`` :meth:`prefill`, of arguments that are known to fit.

        Nothing is copied from the device to the host.
        """
        run = recomputing(self.config.activation_checkpointing if torch.is_grad_enabled() else "none")
        v_first: Tensor | None = None
        layers: list[LayerState] = []
        blocks = self._blocks()
        for block, *layer in zip(blocks, before.matrix, before.time_shift, before.channel_shift, strict=True):
            x, v_first, after = run(
                block, x, v_first, LayerState(*layer), cu_seqlens, tail if block is blocks[-1] else None
            )
            layers.append(after)
        hidden: Tensor = self.ln_out(x)
        return hidden, RWKV7State(*(torch.stack(tensors) for tensors in zip(*layers, strict=True)))

    @property
    def output_weight(self) -> Tensor:
        """The output projection, ``[vocab_size, D]``."""
        return self.head.weight

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of the next token: ``[..., D]`` to ``[..., vocab_size]``."""
        logits: Tensor = self.head(hidden)
        return logits

    def init_state(self, batch_size: int) -> RWKV7State:
        """Return the state of ``batch_size`` sequences that have read nothing: zeros, or copies of the one that is set.

        Gradients reach the one that is set.
        """
        like = self.emb.weight
        sizes = self.sizes
        matrix_dtype = torch.promote_types(like.dtype, torch.float32)
        if self.initial_state is not None:
            initial = self.initial_state
            shifts = (initial[name].to(like.dtype) for name in ("time_shift", "channel_shift"))
            return RWKV7State(initial["matrix"].to(matrix_dtype), *shifts).fork(batch_size)
        matrix = like.new_zeros(
            (sizes.num_layers, batch_size, sizes.num_heads, sizes.head_dim, sizes.head_dim), dtype=matrix_dtype
        )
        return RWKV7State(matrix, *(like.new_zeros(sizes.num_layers, batch_size, sizes.hidden_size) for _ in range(2)))

    def product_parameters(self) -> set[str]:
        """Names of the low-rank matrices and their biases."""
        names = {"w0", "w1", "w2", "a0", "a1", "a2", "v0", "v1", "v2", "g1", "g2"}
        return {name for name, _ in self.named_parameters() if name.rpartition(".att.")[2] in names}

    def shardable_blocks(self) -> list[Block]:
        """Return the layers."""
        return self._blocks()

    def set_initial_state(self, state: State) -> None:
        """Let every sequence begin with ``state``, of batch size 1; its tensors become parameters.

        Raises:
            ComponentError: The state is not one of this model.
        """
        initial = self._checked_state(state, 1)
        weight = self.emb.weight
        tensors = {field.name: getattr(initial, field.name) for field in fields(initial)}
        self.initial_state = nn.ParameterDict(
            {name: tensor.detach().to(weight.device, copy=True) for name, tensor in tensors.items()}
        )

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors of the official layout: the state dict without an initial state."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(INITIAL_STATE)}

    def weight_decay_parameters(self) -> set[str]:
        """Names of the parameters that weight decay may touch: the large matrices.

        To decay any other costs much accuracy, says the official recipe.
        """
        return {
            f"{name}.weight" for name, module in self.named_modules() if isinstance(module, nn.Linear | nn.Embedding)
        }

    def lr_multipliers(self) -> dict[str, float]:
        """Names of the parameters whose learning rate is scaled: the decay's bias learns twice as fast."""
        return {f"blocks.{layer}.att.w0": 2.0 for layer in range(self.sizes.num_layers)}

    def _initialize(self) -> None:
        initialize_embedding(self.emb)
        for layer, block in enumerate(self._blocks()):
            initialize_time_mix(block.att, layer, self.sizes.num_layers)
            initialize_channel_mix(block.ffn, layer, self.sizes.num_layers)
        initialize_head(self.head)

    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def _prefill_graph(self, x: Tensor) -> PrefillGraph | None:
        if (
            torch.is_grad_enabled()
            or x.dtype != self.emb.weight.dtype
            or GraphDecoder.unavailable_reason(self) is not None
        ):
            return None
        return prefill_graph(self)

    def _checked(self, x: Tensor, state: State | None, cu_seqlens: CuSeqlens | None) -> RWKV7State:
        """Check the arguments against each other and return the state to start from."""
        if x.dim() != 3 or x.shape[1] == 0 or x.shape[2] != self.hidden_size:
            raise ComponentError(
                f"the backbone takes [batch, tokens, {self.hidden_size}] with at least one token, not {list(x.shape)}",
                component=_COMPONENT,
            )
        if cu_seqlens is not None:
            _check_packing(cu_seqlens, x)
        rows = x.shape[0] if cu_seqlens is None else cu_seqlens.sequences
        return self.init_state(rows) if state is None else self._checked_state(state, rows)

    def _checked_state(self, state: State, rows: int) -> RWKV7State:
        sizes = self.sizes
        expected = [sizes.num_layers, rows, sizes.num_heads, sizes.head_dim, sizes.head_dim]
        if not isinstance(state, RWKV7State) or list(state.matrix.shape) != expected:
            given = list(state.matrix.shape) if isinstance(state, RWKV7State) else type(state).__name__
            raise ComponentError(
                f"the state must be [layers, batch, heads, value, key] = {expected}, but is {given}",
                component=_COMPONENT,
                hint="a state belongs to one model, and has one entry for each sequence",
            )
        return state


def _check_packing(cu_seqlens: CuSeqlens, x: Tensor) -> None:
    batch, tokens, _ = x.shape
    if batch != 1:
        raise ComponentError(f"packed sequences need a batch size of 1, but it is {batch}", component=_COMPONENT)
    if cu_seqlens.tokens != tokens:
        raise ComponentError(
            f"cu_seqlens must rise from 0 to the {tokens} tokens given, but rises to {cu_seqlens.tokens}",
            component=_COMPONENT,
        )
    if cu_seqlens.sequences == 0 or 0 in cu_seqlens.lengths:
        raise ComponentError(
            f"packed sequences need at least one token each, but their lengths are {cu_seqlens.lengths}",
            component=_COMPONENT,
        )


def _check_kernel(kernel: str, head_dim: int) -> None:
    reasons = []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        try:
            explain_dispatch(kernel, device=device, head_size=head_dim)
        except ValueError as error:
            reasons.append(f"{device}: {error}")
        else:
            return
    raise ComponentError(
        f"kernel {kernel!r} cannot be used ({'; '.join(reasons)})",
        component=_COMPONENT,
        hint=f"use 'auto' or one of {', '.join(available_backends())}",
    )
