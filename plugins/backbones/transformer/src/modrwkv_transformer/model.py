"""A causal language model of the transformers library as a backbone.

B = batch size, T = tokens, D = hidden size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Final, Self

import torch
from modrwkv_kernels import CuSeqlens
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from transformers import LlamaConfig, LlamaModel, Qwen2Config, Qwen2Model, Qwen3Config, Qwen3Model

from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.component import Backbone
from modrwkv_core.interfaces.pretrained_component import PretrainedComponent
from modrwkv_core.interfaces.state import State
from modrwkv_transformer.attention import ATTENTION, KeyValues, causal_mask
from modrwkv_transformer.config import TransformerConfig
from modrwkv_transformer.state import KeyValueState

__all__ = ["Transformer"]

_COMPONENT: Final = "backbone/transformer"

_CLASSES: Final[dict[str, tuple[Any, Any]]] = {
    "llama": (LlamaConfig, LlamaModel),
    "qwen2": (Qwen2Config, Qwen2Model),
    "qwen3": (Qwen3Config, Qwen3Model),
}


class Transformer(PretrainedComponent, Backbone[TransformerConfig]):
    """The library's layers, attending within each packed sequence; the state is the key-value cache.

    Args:
        config: Architecture and sizes.
        vocab_size: Rows of the embedding and of the output projection.

    Raises:
        ComponentError: The configuration fixes another number of rows.
    """

    config: TransformerConfig
    renamed: ClassVar = {"lm_head.": "head."}

    def __init__(self, config: TransformerConfig, vocab_size: int) -> None:
        super().__init__(config, vocab_size)
        if config.vocab not in (None, vocab_size):
            raise ComponentError(
                f"the embedding has {config.vocab} rows, but {vocab_size} are asked for", component=_COMPONENT
            )
        self.hidden_size = config.hidden_size
        make_config, make_model = _CLASSES[config.architecture]
        settings = make_config(
            vocab_size=vocab_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            intermediate_size=config.intermediate_size,
            rms_norm_eps=config.rms_norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta, **config.rope_scaling},
            attn_implementation=ATTENTION,
        )
        self.model: Any = make_model(settings)
        self.head: nn.Linear | None = None
        if not config.tie_embeddings:
            self.head = nn.Linear(config.hidden_size, vocab_size, bias=False)
            nn.init.normal_(self.head.weight, std=settings.initializer_range)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        rotary = self.model.rotary_emb
        frequencies = rotary.inv_freq
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # In 16 bits, frequencies would turn late positions by whole radians.
        rotary.inv_freq = frequencies.to(rotary.inv_freq.device)
        return self

    def unused_tensors(self) -> tuple[str, ...]:
        """Return the tables of older checkpoints, and the copy of a tied embedding."""
        return ("*.rotary_emb.inv_freq", *(("lm_head.weight",) if self.config.tie_embeddings else ()))

    def embed(self, ids: Tensor) -> Tensor:
        """Look up ``ids [B, T]``: ``[B, T, D]``."""
        embeddings: Tensor = self.model.embed_tokens(ids)
        return embeddings

    def forward(
        self, x: Tensor, state: State | None = None, cu_seqlens: CuSeqlens | None = None
    ) -> tuple[Tensor, KeyValueState]:
        """Run ``x`` through all layers.

        Args:
            x: ``[B, T, D]``, or ``[1, tokens, D]`` with several sequences packed one after another; T >= 1.
            state: Of the B sequences (or of the packed ones) before ``x``; None begins anew. Never written to.
            cu_seqlens: Where packed sequences lie, beside ``x``; none of them is empty.

        Returns:
            Hidden vectors of the shape of ``x``, normalized by the model's last norm, and the state after the last
            token of each sequence.

        Raises:
            ComponentError: ``x``, ``state`` and ``cu_seqlens`` do not fit the model or each other.
        """
        self._check_input(x, cu_seqlens)
        sequences = x.shape[0] if cu_seqlens is None else cu_seqlens.sequences
        before = None if state is None else self._checked_state(state, sequences)
        if cu_seqlens is None:
            return self._read_batch(x, before or self.init_state(sequences))
        if before is None:
            return self._read_packed(x, cu_seqlens.lengths)
        bounds = [0, *torch.tensor(cu_seqlens.lengths).cumsum(0).tolist()]
        read = [
            self._read_batch(x[:, begin:end], before.select([index]))
            for index, (begin, end) in enumerate(pairwise(bounds))
        ]
        return torch.cat([hidden for hidden, _ in read], dim=1), KeyValueState.stack([after for _, after in read])

    def _read_batch(self, x: Tensor, before: KeyValueState) -> tuple[Tensor, KeyValueState]:
        tokens, past = x.shape[1], before.lengths
        position_BT = torch.tensor(past)[:, None] + torch.arange(tokens)
        cache = KeyValues(before.joined() if max(past) else None)
        hidden = self._run(x, position_BT, cache, causal_mask(past, tokens, x.device))
        return hidden, KeyValueState.split(tuple(cache.layers), [length + tokens for length in past])

    def _read_packed(self, x: Tensor, lengths: Sequence[int]) -> tuple[Tensor, KeyValueState]:
        position_1T = torch.cat([torch.arange(length) for length in lengths])[None]
        cache = KeyValues(None)
        hidden = self._run(x, position_1T, cache, None, sequence_lengths=lengths)
        return hidden, KeyValueState.split_packed(tuple(cache.layers), lengths)

    def _run(self, x: Tensor, position_BT: Tensor, cache: KeyValues, mask: Tensor | None, **packing: Any) -> Tensor:
        hidden: Tensor = self.model(
            inputs_embeds=x,
            position_ids=position_BT.to(x.device, non_blocking=True),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=False,
            **packing,
        ).last_hidden_state
        return hidden

    @property
    def output_weight(self) -> Tensor:
        """The output projection, ``[vocab_size, D]``."""
        weight: Tensor = self.model.embed_tokens.weight if self.head is None else self.head.weight
        return weight

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of the next token: ``[..., D]`` to ``[..., vocab_size]``."""
        if self.head is None:
            return F.linear(hidden, self.output_weight)
        logits: Tensor = self.head(hidden)
        return logits

    def init_state(self, batch_size: int) -> KeyValueState:
        """Return the state of ``batch_size`` sequences that have read nothing: no keys, no values."""
        config = self.config
        nothing = self.model.embed_tokens.weight.new_zeros(1, config.num_key_value_heads, 0, config.head_dim)
        return KeyValueState((((nothing, nothing),) * config.num_layers,) * batch_size)

    def shardable_blocks(self) -> list[nn.Module]:
        """Return the layers."""
        return list(self.model.layers)

    def weight_decay_parameters(self) -> set[str]:
        """Names of the weights of linear layers and of the embedding."""
        return {
            f"{name}.weight" for name, module in self.named_modules() if isinstance(module, nn.Linear | nn.Embedding)
        }

    def lr_multipliers(self) -> dict[str, float]:
        """Scale no learning rate."""
        return {}

    def _check_input(self, x: Tensor, cu_seqlens: CuSeqlens | None) -> None:
        if x.dim() != 3 or x.shape[1] == 0 or x.shape[2] != self.hidden_size:
            raise ComponentError(
                f"the backbone takes [batch, tokens, {self.hidden_size}] with at least one token, not {list(x.shape)}",
                component=_COMPONENT,
            )
        if cu_seqlens is None:
            return
        lengths = cu_seqlens.lengths
        if x.shape[0] != 1 or cu_seqlens.tokens != x.shape[1] or not lengths or 0 in lengths:
            raise ComponentError(
                f"packed sequences of the lengths {lengths} do not fit an input {list(x.shape)}",
                component=_COMPONENT,
                hint="give a batch of one whose tokens are those of all sequences, none of them empty",
            )

    def _checked_state(self, state: State, sequences: int) -> KeyValueState:
        config = self.config
        expected = [config.num_layers, sequences, config.num_key_value_heads, config.head_dim]
        given: list[int] | str = type(state).__name__
        if isinstance(state, KeyValueState) and state.sequences:
            keys = state.sequences[0][0][0]
            given = [len(state.sequences[0]), state.batch_size, keys.shape[1], keys.shape[3]]
        if given != expected:
            raise ComponentError(
                f"the state must be of [layers, batch, key-value heads, head dimension] = {expected}, but is {given}",
                component=_COMPONENT,
                hint="a state belongs to one model, and has one entry for each sequence",
            )
        assert isinstance(state, KeyValueState)
        return state
