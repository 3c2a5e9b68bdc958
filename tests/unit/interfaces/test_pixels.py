import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional

from modrwkv_core.interfaces.pixels import normalize_pixels

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@given(st.integers(0, 2), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_values_are_torchvisions(images: int, height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (images, 3, height, width), dtype=torch.uint8, generator=generator)
    before = pixels.clone()
    expected = functional.normalize(pixels.double() / 255, list(MEAN), list(STD))
    assert normalize_pixels(pixels, MEAN, STD).dtype == torch.float32
    torch.testing.assert_close(normalize_pixels(pixels, MEAN, STD).double(), expected, rtol=0, atol=1e-6)
    last = normalize_pixels(pixels.movedim(1, -1), MEAN, STD, channel_dim=-1)
    torch.testing.assert_close(last.movedim(-1, 1).double(), expected, rtol=0, atol=1e-6)
    assert torch.equal(pixels, before)


def test_one_value_serves_all_channels() -> None:
    pixels = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    assert normalize_pixels(pixels, (0.5,), (0.5,)).tolist() == [[-1.0, pytest.approx(-0.6), 1.0]]


@pytest.mark.parametrize(
    ("pixels", "mean", "message"),
    [
        (torch.zeros(3, 2, 2), MEAN, "must be uint8, not torch.float32"),
        (torch.zeros(4, 2, 2, dtype=torch.uint8), MEAN, "3 means and 3 standard deviations for 4 channels"),
    ],
)
def test_other_pixels_are_refused(pixels: torch.Tensor, mean: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalize_pixels(pixels, mean, STD)
