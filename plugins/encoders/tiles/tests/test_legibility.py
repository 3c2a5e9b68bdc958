"""What tiles are for: small print on a large page reaches the tower."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from modrwkv_tiles.config import TilesConfig
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from torch.nn import functional

from modrwkv_core.interfaces.signals import Image
from modrwkv_core.manifest.unions import Components
from modrwkv_core.model.build import build_encoder, build_processor
from modrwkv_core.registry import discover

PAGE, TEXT_HEIGHT, CELLS = 2000, 12, 64
TILE, PATCH = 512, 16
TOWER = {
    "type": "siglip2",
    "init": "scratch",
    "image_size": TILE,
    "patch_size": PATCH,
    "hidden_size": 96,
    "intermediate_size": 384,
    "num_layers": 1,
    "num_heads": 2,
}


def font() -> ImageFont.FreeTypeFont:
    """Return the font whose digits are ``TEXT_HEIGHT`` pixels high."""
    for size in range(TEXT_HEIGHT, 3 * TEXT_HEIGHT):
        candidate = ImageFont.load_default(size)
        assert isinstance(candidate, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
        _, top, _, bottom = candidate.getbbox("0123456789")
        if bottom - top >= TEXT_HEIGHT:
            return candidate
    raise AssertionError("no size is high enough")


def page(random: np.random.Generator) -> tuple[Image, torch.Tensor]:
    """Print a digit near the middle of each of 64 x 64 cells; return the page and its digits ``[rows, columns]``."""
    digits = random.integers(0, 10, (CELLS, CELLS))
    sheet = Picture.new("L", (PAGE, PAGE), 255)
    draw, letters = ImageDraw.Draw(sheet), font()
    for (row, column), digit in np.ndenumerate(digits):
        x, y = (np.array([column, row]) + 0.5) * PAGE / CELLS + random.integers(-2, 3, 2)
        draw.text((x, y), str(digit), font=letters, fill=0, anchor="mm")
    return Image(np.asarray(sheet.convert("RGB"))), torch.from_numpy(digits)


class Reader(torch.nn.Module):
    """Reads the digits that each feature of the finest pictures covers, by one linear map."""

    def __init__(self, max_tiles: int) -> None:
        super().__init__()
        context = {"components": Components(discover())}
        content = {"type": "tiles", "encoder": TOWER, "max_tiles": max_tiles}
        config: Any = TilesConfig.model_validate(content, context=context)
        self.encoder, self.processor = build_encoder(discover(), config), build_processor(discover(), config)
        self.pictures = round(max_tiles**0.5)  # in each direction
        self.digits = CELLS * PATCH // (self.pictures * TILE)  # that a feature covers, in each direction
        self.head = torch.nn.Linear(config.out_dim, 10 * self.digits**2)

    def forward(self, sheet: Image) -> torch.Tensor:
        """Return the scores of the digits, ``[rows, columns, 10]``."""
        (values,) = self.encoder([self.processor(sheet)]).values
        side = TILE // PATCH
        n, d = self.pictures, self.digits
        tiles = values.unflatten(0, (-1, side * side + 1))[-n * n :, :-1]  # without thumbnail and separators
        scores = self.head(tiles).view(n, n, side, side, d, d, 10)
        return scores.permute(0, 2, 4, 1, 3, 5, 6).reshape(CELLS, CELLS, 10)


def accuracy(max_tiles: int, pages: int) -> float:
    """Train a reader on ``pages`` and return the share of digits that it reads on two others."""
    torch.manual_seed(0)
    reader, random = Reader(max_tiles), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=2e-3)
    for step in range(pages):
        sheet, digits = page(random)
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, (step + 1) / 10, 2 * (pages - step) / pages)
        loss = functional.cross_entropy(reader(sheet).flatten(0, 1), digits.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = [reader(sheet).argmax(-1) == digits for sheet, digits in (page(random) for _ in range(2))]
    return torch.stack(right).float().mean().item()


@pytest.mark.slow
def test_print_of_12_pixels_on_a_page_of_2000_is_legible_in_four_tiles_and_not_without() -> None:
    with_tiles, without = accuracy(4, 150), accuracy(1, 150)
    print(f"characters read with tiles {with_tiles:.1%}, without {without:.1%}")  # noqa: T201
    assert with_tiles > 0.95
    assert without < 0.6
