"""Attention as the library's layers call it, for batches and for packed sequences.

B = batch size, H = heads, T = tokens, L = tokens with those read before, C = head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface

from modrwkv_transformer.state import Layers

__all__ = ["ATTENTION", "KeyValues", "causal_mask"]

ATTENTION: Final = "modrwkv_transformer"
"""The library's name for :func:`attention`."""


class KeyValues:
    """What the library's layers ask for the keys and values of earlier tokens, and give the new ones to.

    Attributes:
        layers: Keys and values of each layer, earlier and new, once the layer has run.
    """

    def __init__(self, past: Layers | None) -> None:
        self._past = past
        self.layers: list[tuple[Tensor, Tensor]] = []

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Return the keys and values that layer number ``layer`` attends to, ``[B, H, L, C]``."""
        if self._past is not None:
            past_keys, past_values = self._past[layer]
            keys, values = torch.cat([past_keys, keys], dim=2), torch.cat([past_values, values], dim=2)
        self.layers.append((keys, values))
        return keys, values


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    sequence_lengths: Sequence[int] | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend to earlier tokens of the same sequence.

    Args:
        module: The library's layer.
        query: ``[B, H, T, C]``.
        key: ``[B, key-value heads, L, C]``.
        value: ``[B, key-value heads, L, C]``.
        attention_mask: ``[B, 1, T, L]``, true where a token attends; None where that is to all earlier tokens.
        scaling: Factor of the products of queries and keys.
        sequence_lengths: Tokens of each packed sequence; none sees another. None if nothing is packed.

    Returns:
        ``[B, T, H, C]``, and no weights.
    """
    lengths = [query.shape[2]] if sequence_lengths is None else list(sequence_lengths)
    key_lengths = [key.shape[2]] if sequence_lengths is None else lengths
    continues = attention_mask is None and 1 < query.shape[2] < key.shape[2]
    attended = [
        F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=causal_lower_right(q.shape[2], k.shape[2]) if continues else attention_mask,
            is_causal=attention_mask is None and not continues and q.shape[2] > 1,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for q, k, v in zip(
            torch.split(query, lengths, dim=2),
            torch.split(key, key_lengths, dim=2),
            torch.split(value, key_lengths, dim=2),
            strict=True,
        )
    ]
    return torch.cat(attended, dim=2).transpose(1, 2).contiguous(), None


def causal_mask(past: Sequence[int], tokens: int, device: torch.device) -> Tensor | None:
    """Return which tokens the new ones of a batch attend to, ``[B, 1, tokens, longest past + tokens]``.

    Args:
        past: Tokens that each sequence has read; those of shorter ones stand at the end of the longest.
        tokens: New tokens of each.
        device: Where the mask is needed.

    Returns:
        None where causal attention needs no mask: nothing was read, or one token attends to everything, or a GPU's
        kernels, which a mask would keep out, let the new tokens end where the earlier ones do.
    """
    longest, shortest = max(past), min(past)
    if longest == 0 or (longest == shortest and (tokens == 1 or device.type == "cuda")):
        return None
    position_K = torch.arange(longest + tokens)
    begin_B = longest - torch.tensor(past)
    last_T = longest + torch.arange(tokens)
    mask_BTK = (position_K >= begin_B[:, None, None]) & (position_K <= last_T[None, :, None])
    return mask_BTK[:, None].to(device, non_blocking=True)


AttentionInterface.register(ATTENTION, attention)
