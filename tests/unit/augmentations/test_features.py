from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator

from modrwkv_core.augmentations.config import FeatureDropoutConfig, FeatureMaskConfig
from modrwkv_core.augmentations.features import FeatureDropout, FeatureMask
from modrwkv_core.interfaces.values import Features

SEEDS = st.integers(0, 2**32)


def ones(items: int, vectors: int, dim: int) -> Features:
    return Features(torch.ones(items, vectors, dim), torch.full((items,), vectors))


def rngs(count: int, seed: int) -> list[Generator]:
    return [np.random.default_rng([seed, index]) for index in range(count)]


@given(
    seed=SEEDS,
    vectors=st.integers(1, 60),
    dim=st.integers(1, 40),
    share=st.floats(0.0, 1.0),
    length=st.integers(1, 30),
)
def test_masks_are_stretches_and_stay_below_their_share(
    seed: int, vectors: int, dim: int, share: float, length: int
) -> None:
    config = FeatureMaskConfig(time_share=share, time_length=length, channel_share=share, channel_length=length)
    masked = FeatureMask(config)(ones(3, vectors, dim), rngs(3, seed)).values == 0.0
    for item in masked:
        rows, columns = item.all(dim=1), item.all(dim=0)
        if rows.all() or columns.all():
            continue  # then both look masked
        assert torch.equal(item, rows[:, None] | columns[None, :])
        for lines, size in ((rows, vectors), (columns, dim)):
            span = min(length, max(size // 2, 1))
            assert lines.sum() <= share * size + span
            edges = torch.diff(lines.int(), prepend=torch.zeros(1, dtype=torch.int32))
            starts, total = int((edges == 1).sum()), int(lines.sum())
            assert total >= starts * span, "every stretch is as long as the configuration says"


def test_the_masked_share_is_the_one_that_is_asked_for() -> None:
    config = FeatureMaskConfig(time_share=0.06, time_length=4)
    masked = FeatureMask(config)(ones(3000, 40, 1), rngs(3000, 0)).values == 0.0
    # 0.6 stretches of 4 an item; nothing overlaps where there is at most one
    assert abs(masked.float().mean().item() - 0.06) < 0.004


@given(seed=SEEDS, rate=st.floats(0.05, 0.95))
def test_dropout_keeps_the_mean(seed: int, rate: float) -> None:
    values = FeatureDropout(FeatureDropoutConfig(rate=rate))(ones(2, 100, 50), rngs(2, seed)).values
    kept = values[values != 0.0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1.0 / (1.0 - rate)))
    assert abs((values == 0.0).float().mean().item() - rate) < 0.04
    assert not torch.equal(values[0], values[1])
