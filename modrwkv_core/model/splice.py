"""The splice: feature vectors written over the placeholders of the token stream.

B = 1 (packed), T = tokens, D = hidden size of the backbone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from modrwkv_core.data.batch import PlacedMedia
from modrwkv_core.errors import WiringError
from modrwkv_core.interfaces.values import Features

__all__ = ["splice"]


def splice(embeddings_1TD: Tensor, media: Sequence[PlacedMedia], features: Mapping[str, Features]) -> Tensor:
    """Write the features of all media over their placeholders.

    Args:
        embeddings_1TD: Text embeddings ``[1, tokens, hidden_size]``.
        media: The media of the stream.
        features: By modality, the adapted features of its items in the order in which they stand in ``media``.

    Returns:
        The stream ``[1, tokens, hidden_size]`` that the backbone reads; gradients flow to the features and to the text.

    Raises:
        WiringError: An item has another number of features than placeholders; names the conversation and both counts.
    """
    positions: list[Tensor] = []
    values: list[Tensor] = []
    for name, of_modality in features.items():
        placed = [item for item in media if item.modality == name]
        for item, length in zip(placed, of_modality.lengths.tolist(), strict=True):
            if length != item.count:
                raise WiringError(
                    f"{item.key}: the {name} gives {length} feature vectors for {item.count} placeholders",
                    component=f"modalities.{name}",
                    hint="out_length() of its encoder, compressor or adapter disagrees with forward(); "
                    "the contract tests of modrwkv_core.testing find which",
                )
            positions.append(torch.arange(item.position, item.position + length))
        values.append(of_modality.packed())
    if not positions:
        return embeddings_1TD
    index = torch.cat(positions).to(embeddings_1TD.device)
    rows_ND = torch.cat(values).to(embeddings_1TD.dtype)
    return embeddings_1TD.index_copy(1, index, rows_ND[None])
