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

__all__ = ["placed_features", "splice", "write_rows"]


def splice(
    embeddings_1TD: Tensor,
    media: Sequence[PlacedMedia],
    positions: Mapping[str, Tensor],
    features: Mapping[str, Features],
) -> Tensor:
    """Write the features of all media over their placeholders.

    Args:
        embeddings_1TD: Text embeddings ``[1, tokens, hidden_size]``.
        media: The media of the stream.
        positions: By modality, the positions of its placeholders.
        features: By modality, the adapted features of its items in the order in which they stand in ``media``.

    Returns:
        The stream ``[1, tokens, hidden_size]`` that the backbone reads; gradients flow to the features and to the text.

    Raises:
        WiringError: An item has another number of features than placeholders; names the conversation and both counts.
    """
    index_N, rows_ND = placed_features(media, positions, features)
    return write_rows(embeddings_1TD, index_N, rows_ND)


def placed_features(
    media: Sequence[PlacedMedia], positions: Mapping[str, Tensor], features: Mapping[str, Features]
) -> tuple[Tensor, Tensor | None]:
    """Return the positions ``[N]`` of all placeholders and their feature vectors ``[N, hidden_size]``, None if N is 0.

    Raises:
        WiringError: See :func:`splice`.
    """
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
    if not features:
        return torch.empty(0, dtype=torch.int64), None
    values = [of_modality.packed() for of_modality in features.values()]
    return torch.cat([positions[name] for name in features]), torch.cat(values)


def write_rows(embeddings_1TD: Tensor, index_N: Tensor, rows_ND: Tensor | None) -> Tensor:
    """Return the embeddings ``[1, tokens, hidden_size]`` with rows written at these positions."""
    if rows_ND is None:
        return embeddings_1TD
    index_N = index_N.to(embeddings_1TD.device)
    return embeddings_1TD.index_copy(1, index_N, rows_ND.to(embeddings_1TD.dtype)[None])
