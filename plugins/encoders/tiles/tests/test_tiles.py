from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_tiles.config import TilesConfig
from modrwkv_tiles.tiling import best_grid, cut, on_canvas
from pydantic import ValidationError
from transformers import LlavaNextImageProcessor
from transformers.image_processing_utils import select_best_resolution

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.grids import grids_of
from modrwkv_core.interfaces.signals import Image
from modrwkv_core.manifest.unions import Components
from modrwkv_core.model.build import build_encoder, build_processor
from modrwkv_core.registry import discover
from modrwkv_core.testing import EncoderContract

SIZES = {"init": "scratch", "num_layers": 1, "num_heads": 2, "hidden_size": 12, "intermediate_size": 16}
SIGLIP = {"type": "siglip2", **SIZES, "image_size": 16, "patch_size": 8}
CLIP = {"type": "clip", **SIZES, "image_size": 16, "patch_size": 8, "cls": True}
NAFLEX = {"type": "siglip2_naflex", **SIZES, "max_patches": 10, "patch_size": 4, "positions": 4}
SIDES = st.integers(1, 3000)


def configured(**settings: Any) -> Any:
    context = {"components": Components(discover())}
    return TilesConfig.model_validate({"type": "tiles", **settings}, context=context)


def built(config: TilesConfig) -> tuple[Any, Any]:
    torch.manual_seed(0)
    return build_encoder(discover(), config).eval(), build_processor(discover(), config)


def picture(height: int, width: int, seed: int = 0) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


class TestTiles(EncoderContract):
    plugin = "modrwkv_tiles.plugin"
    name = "tiles"
    configs = (
        {"encoder": SIGLIP},
        {"encoder": CLIP, "max_tiles": 6},
        {"encoder": NAFLEX, "max_tiles": 3, "tile_size": 20},
    )
    unreached = frozenset({"encoder.model.encoder.layers.0.self_attn.k_proj.bias"})
    """Softmax does not see what all keys share."""

    def signals(self, config: TilesConfig) -> list[Image]:
        return [picture(16, 16), picture(60, 61, seed=1), picture(9, 200, seed=2), picture(70, 30, seed=3)]

    def bad_signals(self, config: TilesConfig) -> list[Image]:
        return [picture(1, 20_000), picture(20_000, 1)]


@given(height=SIDES, width=SIDES, max_tiles=st.integers(1, 12), tile_size=st.integers(1, 600))
def test_the_grid_is_llava_nexts(height: int, width: int, max_tiles: int, tile_size: int) -> None:
    grids = [(rows, columns) for rows in range(1, max_tiles + 1) for columns in range(1, max_tiles // rows + 1)]
    sizes = [(rows * tile_size, columns * tile_size) for rows, columns in grids]
    expected = select_best_resolution((height, width), sizes)
    if expected is None:  # upstream has none where no pixel is left
        return
    rows, columns = best_grid(height, width, max_tiles, tile_size)
    assert (rows * tile_size, columns * tile_size) == expected


@pytest.mark.parametrize("size", [(300, 500), (500, 120), (97, 101), (33, 33), (64, 400)])
def test_tiles_are_llava_nexts(size: tuple[int, int]) -> None:
    side, pixels = 64, picture(*size).pixels
    grid = best_grid(*size, 4, side)
    sizes = [[rows * side, columns * side] for rows in range(1, 5) for columns in range(1, 4 // rows + 1)]
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    upstream = LlavaNextImageProcessor()
    expected = upstream._get_image_patches(image, sizes, (side, side), side, upstream.resample)[1:]
    found = [*cut(on_canvas(pixels, grid.rows * side, grid.columns * side), side)]
    assert len(found) == len(expected) == grid.rows * grid.columns
    for mine, theirs in zip(found, expected, strict=True):
        assert np.abs(mine.astype(int) - theirs.permute(1, 2, 0).numpy().astype(int)).max() <= 1


@pytest.mark.parametrize("inner", [SIGLIP, CLIP])
@torch.no_grad()
def test_features_are_the_encoders_of_each_tile_between_separators(inner: Mapping[str, Any]) -> None:
    config = configured(encoder=inner)
    encoder, processor = built(config)
    signal = picture(32, 32)
    found = encoder([processor(signal)])
    own = build_processor(discover(), config.encoder)
    pixels = signal.pixels
    pictures = [on_canvas(pixels, 16, 16), pixels[:16, :16], pixels[:16, 16:], pixels[16:, :16], pixels[16:, 16:]]
    separators = [encoder.after_thumbnail, *[encoder.after_tile, encoder.after_row] * 2]
    expected = []
    for each, separator in zip(pictures, separators, strict=True):
        expected += [encoder.encoder([own(Image(each))]).values[0], separator[None]]
    torch.testing.assert_close(found.values[0], torch.cat(expected), rtol=0, atol=1e-5)
    assert (
        found.lengths.tolist()
        == [config.typical_length]
        == [5 * (config.encoder.typical_length + inner.get("cls", 0) + 1)]
    )


def test_one_tile_is_read_without_a_thumbnail() -> None:
    encoder, processor = built(configured(encoder=SIGLIP))
    item = processor(picture(15, 16))
    assert grids_of(item.length) == ((2, 2), (1, 1))
    assert torch.equal(encoder([item]).values[0, -1], encoder.after_row)


def test_each_tile_keeps_the_grid_of_its_encoder() -> None:
    _, processor = built(configured(encoder=NAFLEX, tile_size=20))
    assert grids_of(processor(picture(20, 38)).length) == ((3, 3), (1, 1)) * 3
    _, processor = built(configured(encoder=CLIP))
    assert grids_of(processor(picture(20, 38)).length) is None


def test_long_pictures_are_refused_once_nothing_of_their_breadth_is_left() -> None:
    _, processor = built(configured(encoder=SIGLIP))
    with pytest.raises(DataError, match="20000 x 1 pixels is too long: at most 4 tiles of 16 pixels leave less"):
        processor(picture(1, 20_000))
    assert processor(picture(1, 64)).length == 5 * 5
    with pytest.raises(DataError, match="65 x 1 pixels is too long"):
        processor(picture(1, 65))


def test_small_print_reaches_the_encoder() -> None:
    """Lines one pixel apart are gray in the thumbnail, and black and white on the tiles."""
    _, processor = built(configured(encoder=SIGLIP))
    lines = np.zeros((32, 32, 3), np.uint8)
    lines[::2] = 255
    pixels = processor(Image(lines)).tensors["encoder/pixels"].float()
    assert [each.std().item() > 100 for each in pixels] == [False, True, True, True, True]


def test_a_run_needs_no_outside_files() -> None:
    config = configured(encoder=SIGLIP)
    assert configured(**config.model_dump(mode="json")) == config == config.resolved()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": NAFLEX}, "the encoder 'siglip2_naflex' has no image_size; give tile_size"),
        ({"encoder": {"type": "wavlm", "init": "scratch"}}, "reads 'audio', but 'image' is to be read here"),
        ({"encoder": {"type": "siglip3"}}, "siglip3"),
        ({"encoder": SIGLIP, "max_tiles": 0}, "greater than or equal to 1"),
        ({"encoder": SIGLIP, "tiles": 3}, "Extra inputs"),
    ],
)
def test_configurations_that_cannot_work_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        configured(**settings)
