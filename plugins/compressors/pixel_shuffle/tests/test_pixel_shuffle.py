from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_pixel_shuffle.compressor import PixelShuffleCompressor
from modrwkv_pixel_shuffle.config import PixelShuffleConfig
from pydantic import ValidationError
from torch.nn import functional
from transformers import Idefics3Config
from transformers.models.idefics3.modeling_idefics3 import Idefics3Connector

from modrwkv_core.cli.main import run_program
from modrwkv_core.errors import ComponentError
from modrwkv_core.interfaces.values import Features

SIDES = st.integers(1, 5)


def features(*lengths: int, dim: int = 3) -> Features:
    values = torch.randn(len(lengths), max(lengths), dim, generator=torch.Generator().manual_seed(0))
    return Features(values, torch.tensor(lengths)).with_values(values)


def shuffled(given: Features, **settings: object) -> Features:
    config = PixelShuffleConfig.model_validate(settings)
    return PixelShuffleCompressor(config, given.values.shape[2])(given)


@given(rows=SIDES, columns=SIDES, factor=st.integers(1, 4), dim=SIDES)
def test_squares_are_those_of_torchs_pixel_unshuffle(rows: int, columns: int, factor: int, dim: int) -> None:
    rows, columns = rows * factor, columns * factor
    given = features(rows * columns, dim=dim)
    found = shuffled(given, factor=factor, grid=(rows, columns))
    image = given.values[0].T.reshape(1, dim, rows, columns)
    channels = functional.pixel_unshuffle(image, factor)[0].flatten(1).T
    expected = channels.reshape(-1, dim, factor * factor).transpose(1, 2).flatten(1)  # torch puts the channel first
    assert torch.equal(found.values[0], expected)
    assert found.lengths.tolist() == [len(expected)]


@pytest.mark.parametrize(("side", "factor"), [(4, 2), (12, 3), (24, 4)])
def test_squares_are_those_of_idefics3(side: int, factor: int) -> None:
    given = features(side * side, dim=8)
    upstream = Idefics3Connector(Idefics3Config(scale_factor=factor))
    assert torch.equal(shuffled(given, factor=factor).values, upstream.pixel_shuffle(given.values, factor))


def test_a_square_lies_row_by_row_in_its_feature() -> None:
    given = Features(torch.arange(8.0).reshape(1, 8, 1), torch.tensor([8]))
    assert shuffled(given, grid=(2, 4)).values.tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7]]]


def test_squares_of_different_sizes_share_a_batch_and_padding_stays_out() -> None:
    together = features(4, 36, 16)
    garbage = Features(together.values.masked_fill(~together.mask()[..., None], 1e9), together.lengths)
    found = shuffled(garbage)
    assert found.lengths.tolist() == [1, 9, 4]
    for row, length in enumerate(together.lengths.tolist()):
        alone = shuffled(Features(together.values[row : row + 1, :length], torch.tensor([length])))
        assert torch.equal(found.values[row, : alone.values.shape[1]], alone.values[0])
        assert not found.values[row, alone.values.shape[1] :].any()


def test_gradients_reach_each_feature_once() -> None:
    given = features(16)
    given.values.requires_grad_()
    shuffled(given).values.sum().backward()
    assert given.values.grad is not None
    assert torch.equal(given.values.grad, torch.ones_like(given.values))


@given(length=st.integers(1, 700), factor=st.integers(1, 5))
def test_lengths_that_are_no_grid_are_refused_by_arithmetic_and_forward_alike(length: int, factor: int) -> None:
    config = PixelShuffleConfig(factor=factor)
    squares = {side * side: (side // factor) ** 2 for side in range(factor, 27, factor)}
    if length in squares:
        assert config.out_length(length) == squares[length] == len(shuffled(features(length), factor=factor).values[0])
        return
    with pytest.raises(ComponentError, match=r"no square grid|does not divide"):
        config.out_length(length)
    with pytest.raises(ComponentError, match=r"no square grid|does not divide"):
        shuffled(features(length), factor=factor)


def test_nothing_gives_nothing() -> None:
    found = shuffled(Features(torch.zeros(1, 0, 3), torch.tensor([0])))
    assert found.values.shape == (1, 0, 12)
    assert PixelShuffleConfig().out_length(0) == 0


def test_a_grid_that_the_factor_does_not_divide_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"the factor 2 does not divide the grid \[3, 4\]"):
        PixelShuffleConfig(grid=(3, 4))


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Check a manifest with an image encoder of 5 x 6 patches; return the exit code and what is said."""

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


@pytest.mark.parametrize(
    ("picture", "compressor", "expected"),
    [
        (32, {}, "siglip2 [16, 24] -> pixel_shuffle [4, 96] -> mlp [4, 64] -> 4 tokens"),
        (24, {}, "the factor 2 does not divide the grid of 3 x 3 features"),
        (24, {"factor": 3}, "pixel_shuffle [1, 216]"),
        (32, {"grid": [2, 6]}, "16 features are no grid of 2 x 6"),
        (32, {"grid": [2, 8]}, "pixel_shuffle [4, 96]"),
    ],
)
def test_checking_a_manifest_finds_what_does_not_fit(
    check: Callable[..., tuple[int, str]], picture: int, compressor: dict[str, object], expected: str
) -> None:
    code, said = check({**SIGLIP2, "image_size": picture}, {"type": "pixel_shuffle", **compressor})
    assert expected in said
    assert code == (0 if "[" in expected else 2)
    if code:
        assert "manifest.yaml" in said
        assert "modalities.image" in said
        assert "pixel_shuffle" in said
