"""Prompts of a given length with a given number of pictures, made without files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from modrwkv_core.benchmarking.costs.grid import Cell
from modrwkv_core.data.batch import Batch
from modrwkv_core.data.packing import pack
from modrwkv_core.data.token_stream import TokenStream
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.interfaces.values import MediaItem
from modrwkv_core.model.multimodal import MultimodalModel

__all__ = ["ANSWER_TOKENS", "Prompts"]

ANSWER_TOKENS: Final = 64  # most tokens at a prompt's end that training supervises
FIRST_ID: Final = 1
SIDE: Final = 64  # pixels; the processor brings every picture to the encoder's size


@dataclass(frozen=True, slots=True)
class Prompts:
    """Makes batches for models that share tokenizer, encoder, compressor and adapter.

    Attributes:
        model: One of them.
    """

    model: MultimodalModel

    def _picture(self) -> tuple[MediaItem, int]:
        pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        preprocessor = self.model.preprocessors["image"]
        item = preprocessor.process(Image(pixels))
        return item, preprocessor.out_length(item.length)

    @property
    def picture_tokens(self) -> int:
        """Tokens of a picture, with its markers."""
        return self._picture()[1] + 2

    def shortest(self) -> Batch:
        """Return one prompt of a picture and two tokens."""
        batch = self.batch(Cell(self.picture_tokens + 2, 1, 1))
        assert batch is not None, "two tokens are left"
        return batch

    def batch(self, cell: Cell) -> Batch | None:
        """Return the prompts of a cell, pictures first and then random tokens; None if the pictures leave none."""
        item, count = self._picture()
        text_tokens = cell.context - cell.pictures * (count + 2)
        if text_tokens < 1:
            return None
        noise = np.random.default_rng(1)
        answer = min(ANSWER_TOKENS, text_tokens)
        last_id = min(self.model.tokenizer.special.all())  # media and turns have ids of their own
        samples = []
        for row in range(cell.batch_size):
            stream = TokenStream(f"prompt {row}")
            for _ in range(cell.pictures):
                stream.place("image", item, count, self.model.tokenizer.special)
            ids = noise.integers(FIRST_ID, last_id, text_tokens).tolist()
            stream.write(ids[: text_tokens - answer])
            stream.write(ids[text_tokens - answer :], supervised=True)
            samples.append(stream.sample())
        return pack(samples)
