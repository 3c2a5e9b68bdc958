"""Keys of the beginnings of a prompt: digests of all that a state after them depends on."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence

from torch import Tensor

from modrwkv_core.data.batch import PlacedMedia
from modrwkv_core.data.recent_media import item_digest

__all__ = ["PrefixHash"]


class PrefixHash:
    """The digest of a model and of the tokens and media that it has read.

    Args:
        model_digest: Names the model.
    """

    def __init__(self, model_digest: str) -> None:
        self._hash = hashlib.blake2b(model_digest.encode(), digest_size=32)

    def key(self) -> str:
        """Return the digest of what was read so far."""
        return self._hash.hexdigest()

    def read_token(self, token: int) -> None:
        """Go on behind a token."""
        self._hash.update(token.to_bytes(8, sys.byteorder))

    def read(self, ids: Tensor, media: Sequence[PlacedMedia], positions: Iterable[int]) -> dict[int, str]:
        """Go on behind a prompt.

        Args:
            ids: ``[tokens]``, int64.
            media: In the order of their positions.
            positions: Numbers of tokens after which no medium is cut.

        Returns:
            By position the digest of what stands before it.
        """
        keys: dict[int, str] = {}
        begin = 0
        cuts = sorted({*positions, *(placed.position for placed in media), len(ids)})
        starts = {placed.position: placed for placed in media}
        for cut in cuts:
            self._hash.update(ids[begin:cut].numpy().tobytes())
            begin = cut
            if cut in starts:
                self._read_medium(starts[cut])
            else:
                keys[cut] = self.key()
        return keys

    def _read_medium(self, placed: PlacedMedia) -> None:
        self._hash.update(f"|{placed.modality}|{placed.count}|".encode())
        self._hash.update(item_digest(placed.item))
