"""The settings of sampling."""

from typing import Any

import pytest

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.sampling import Sampling

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", NAN),
        ("temperature", INFINITY),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("seed", -1),
        ("seed", 2**64),
        ("top_k", -1),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("typical_p", 0.0),
        ("typical_p", NAN),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", INFINITY),
        ("presence_penalty", 2.1),
        ("frequency_penalty", NAN),
        ("logit_bias", {-1: 1.0}),
        ("logit_bias", {1: INFINITY}),
    ],
)
def test_values_out_of_range_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ModRWKVError, match=field):
        Sampling(**{field: value})


@pytest.mark.parametrize(
    ("sampling", "greedy"),
    [
        (Sampling(), True),
        (Sampling(top_p=0.5, top_k=3, min_p=0.1, seed=1), True),
        (Sampling(temperature=0.5), False),
        (Sampling(repetition_penalty=1.1), False),
        (Sampling(presence_penalty=0.1), False),
        (Sampling(frequency_penalty=-0.1), False),
        (Sampling(logit_bias={3: 1.0}), False),
    ],
)
def test_only_settings_that_change_the_likeliest_token_are_not_greedy(sampling: Sampling, greedy: bool) -> None:
    assert sampling.is_greedy is greedy
