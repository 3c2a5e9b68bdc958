"""Which length of a captured pass serves a batch; the passes themselves need a GPU."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.backbones.rwkv7.training_graphs import rounded_tokens


@given(st.integers(1, 10**6))
def test_a_rounded_length_holds_the_tokens_with_little_waste(tokens: int) -> None:
    rounded = rounded_tokens(tokens)
    assert rounded % 16 == 0
    assert tokens <= rounded < max(tokens + 16, tokens * 17 / 16)


@given(st.integers(8, 20))
def test_few_lengths_serve_all(power: int) -> None:
    lengths = {rounded_tokens(tokens) for tokens in range(2**power, 2 ** (power + 1), 7)}
    assert len(lengths) <= 17
