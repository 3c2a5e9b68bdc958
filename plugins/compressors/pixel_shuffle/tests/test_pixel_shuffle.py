from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_pixel_shuffle.compressor import PixelShuffleCompressor
from modrwkv_pixel_shuffle.config import PixelShuffleConfig
from torch.nn import functional
from transformers import Idefics3Config
from transformers.models.idefics3.modeling_idefics3 import Idefics3Connector

from modrwkv_core.cli.main import run_program
from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.grids import GridLength
from modrwkv_core.interfaces.values import Features

SIDES = st.integers(1, 5)


def features(*grids: tuple[int, int], dim: int = 3) -> Features:
    lengths = [GridLength(grid) for grid in grids]
    values = torch.randn(len(grids), max(lengths), dim, generator=torch.Generator().manual_seed(0))
    return Features(values, torch.tensor(lengths)).with_values(values).with_grids(lengths)


def shuffled(given: Features, **settings: object) -> Features:
    config = PixelShuffleConfig.model_validate(settings)
    return PixelShuffleCompressor(config, given.values.shape[2])(given)


@given(rows=SIDES, columns=SIDES, factor=st.integers(1, 4), dim=SIDES)
def test_squares_are_those_of_torchs_pixel_unshuffle(rows: int, columns: int, factor: int, dim: int) -> None:
    rows, columns = rows * factor, columns * factor
    given = features((rows, columns), dim=dim)
    found = shuffled(given, factor=factor)
    image = given.values[0].T.reshape(1, dim, rows, columns)
    channels = functional.pixel_unshuffle(image, factor)[0].flatten(1).T
    expected = channels.reshape(-1, dim, factor * factor).transpose(1, 2).flatten(1)  # torch puts the channel first
    assert torch.equal(found.values[0], expected)
    assert found.lengths.tolist() == [len(expected)]


@pytest.mark.parametrize(("side", "factor"), [(4, 2), (12, 3), (24, 4)])
def test_squares_are_those_of_idefics3(side: int, factor: int) -> None:
    given = features((side, side), dim=8)
    upstream = Idefics3Connector(Idefics3Config(scale_factor=factor))
    assert torch.equal(shuffled(given, factor=factor).values, upstream.pixel_shuffle(given.values, factor))


def test_a_square_lies_row_by_row_in_its_feature() -> None:
    given = replace(features((2, 4)), values=torch.arange(8.0).reshape(1, 8, 1))
    assert shuffled(given).values.tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7]]]


def test_zeros_fill_partial_squares() -> None:
    given = replace(features((3, 3)), values=torch.arange(1.0, 10.0).reshape(1, 9, 1))
    assert shuffled(given).values.tolist() == [[[1, 2, 4, 5], [3, 0, 6, 0], [7, 8, 0, 0], [9, 0, 0, 0]]]


@given(rows=st.integers(1, 30), columns=st.integers(1, 30), factor=st.integers(1, 5))
def test_a_grid_of_any_size_has_a_square_for_every_feature(rows: int, columns: int, factor: int) -> None:
    squares = {(row // factor, column // factor) for row in range(rows) for column in range(columns)}
    assert PixelShuffleConfig(factor=factor).out_length(GridLength((rows, columns))) == len(squares)


def test_grids_of_different_sizes_share_a_batch_and_padding_stays_out() -> None:
    grids = ((2, 2), (3, 12), (16, 1))
    together = features(*grids)
    garbage = replace(together, values=together.values.masked_fill(~together.mask()[..., None], 1e9))
    found = shuffled(garbage)
    assert found.lengths.tolist() == [1, 12, 8]
    for row, grid in enumerate(grids):
        length = GridLength(grid)
        alone = shuffled(Features(together.values[row : row + 1, :length], torch.tensor([length])).with_grids([length]))
        assert torch.equal(found.values[row, : alone.values.shape[1]], alone.values[0])
        assert not found.values[row, alone.values.shape[1] :].any()


def test_gradients_reach_each_feature_once() -> None:
    given = features((3, 5))
    given.values.requires_grad_()
    shuffled(given).values.sum().backward()
    assert given.values.grad is not None
    assert torch.equal(given.values.grad, torch.ones_like(given.values))


def test_features_without_a_grid_are_refused_by_arithmetic_and_forward_alike() -> None:
    with pytest.raises(ComponentError, match="16 features have no grid of rows and columns"):
        PixelShuffleConfig().out_length(16)
    with pytest.raises(ComponentError, match="16 features have no grid of rows and columns"):
        shuffled(replace(features((4, 4)), grids=None))


def test_nothing_gives_nothing() -> None:
    found = shuffled(Features(torch.zeros(1, 0, 3), torch.tensor([0])))
    assert found.values.shape == (1, 0, 12)
    assert PixelShuffleConfig().out_length(0) == 0


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Check a manifest with an image encoder; return the exit code and what is said."""

    def call(encoder: dict[str, object], compressor: dict[str, object]) -> tuple[int, str]:
        manifest = {
            "modrwkv": 1,
            "name": "shuffled",
            "tokenizer": {"type": "bytes"},
            "backbone": {"type": "rwkv7", "num_layers": 1, "hidden_size": 64},
            "modalities": {"image": {"encoder": encoder, "compressor": compressor, "adapter": {"type": "mlp"}}},
            "data": {"train": [{"source": "chat", "path": "talks.jsonl"}]},
            "phases": [{"name": "only", "train": ["adapter"], "lr": 1e-3, "steps": 1}],
        }
        (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(manifest))
        code = run_program(["check", str(tmp_path / "manifest.yaml")])
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


SIGLIP2 = {
    "type": "siglip2",
    "init": "scratch",
    "patch_size": 8,
    "hidden_size": 24,
    "num_layers": 1,
    "num_heads": 2,
    "intermediate_size": 8,
}


CLIP = {**SIGLIP2, "type": "clip", "image_size": 32}
NAFLEX = {key: value for key, value in SIGLIP2.items() if key != "type"}
NAFLEX |= {"type": "siglip2_naflex", "max_patches": 20, "positions": 16}


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ({**SIGLIP2, "image_size": 32}, "siglip2 [16, 24] -> pixel_shuffle [4, 96] -> mlp [4, 64] -> 4 tokens"),
        ({**SIGLIP2, "image_size": 24}, "siglip2 [9, 24] -> pixel_shuffle [4, 96]"),
        (NAFLEX, "siglip2_naflex [20, 24] -> pixel_shuffle [6, 96]"),
        ({**CLIP, "cls": False}, "clip [16, 24] -> pixel_shuffle [4, 96]"),
        ({**CLIP, "cls": True}, "the 17 features of encoder 'clip' (modrwkv-clip) have no grid"),
    ],
)
def test_checking_a_manifest_knows_the_grid(
    check: Callable[..., tuple[int, str]], encoder: dict[str, object], expected: str
) -> None:
    code, said = check(encoder, {"type": "pixel_shuffle"})
    assert expected in said
    assert code == (0 if "->" in expected else 2)
