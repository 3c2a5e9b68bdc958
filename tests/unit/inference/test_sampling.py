"""Sampling against the probabilities it claims to follow."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.sampling import Sampling

LOGITS = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))


def frequencies(sampling: Sampling, draws: int = 8000) -> list[float]:
    generator = sampling.generator(torch.device("cpu"))
    drawn = sampling.draw(LOGITS.expand(draws, -1), generator)
    return [float((drawn == token).float().mean()) for token in range(4)]


def test_greedy_takes_the_likeliest() -> None:
    assert frequencies(Sampling()) == [1.0, 0.0, 0.0, 0.0]


def test_temperature_one_follows_the_probabilities() -> None:
    assert frequencies(Sampling(temperature=1.0, seed=0)) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.02)


def test_temperature_sharpens() -> None:
    squares = torch.tensor([0.25, 0.09, 0.0225, 0.0025])
    assert frequencies(Sampling(temperature=0.5, seed=0)) == pytest.approx((squares / squares.sum()).tolist(), abs=0.02)


def test_nucleus_keeps_the_smallest_set_that_reaches_top_p() -> None:
    assert frequencies(Sampling(temperature=1.0, top_p=0.7, seed=0)) == pytest.approx(
        [0.625, 0.375, 0.0, 0.0], abs=0.02
    )


def test_a_seed_repeats_and_none_does_not() -> None:
    seeded = Sampling(temperature=1.0, seed=7)
    assert frequencies(seeded) == frequencies(seeded)
    assert frequencies(Sampling(temperature=1.0)) != frequencies(Sampling(temperature=1.0))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("seed", -1),
        ("seed", 2**64),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(ModRWKVError, match=field):
        Sampling(**{field: value})


@given(
    temperature=st.floats(0.0, 1e300),
    top_p=st.floats(0.0, 1.0, exclude_min=True),
    logits=st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=2, max_size=6),
)
def test_no_arithmetic_breaks_a_draw(temperature: float, top_p: float, logits: list[float]) -> None:
    sampling = Sampling(temperature, top_p, seed=1)
    scores = torch.tensor([[*logits, float("-inf")]])
    token = int(sampling.draw(scores, sampling.generator(torch.device("cpu"))))
    assert token < len(logits), "a banned token is never drawn"
    if temperature < 1e-200:
        assert scores[0, token] == scores.max(), "the coldest draws take the likeliest"
