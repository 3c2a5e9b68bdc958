from __future__ import annotations

import pytest
import torch
from modrwkv_eval.generation import GenerationOptions

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.sampling import Sampling


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, (256, ())),
        ({"until": "\n"}, (256, ("\n",))),
        ({"until": ["\n", "", "Q:"], "max_gen_toks": 5, "max_new_tokens": 7}, (5, ("\n", "Q:"))),
        ({"max_new_tokens": 7, "temperature": 0, "top_p": 0, "num_beams": 1, "do_sample": False}, (7, ())),
        ({"max_tokens": 8, "do_sample": False, "temperature": 0.7, "top_k": None}, (8, ())),
    ],
)
def test_answers_are_greedy_unless_a_task_draws(
    arguments: dict[str, object], expected: tuple[int, tuple[str, ...]]
) -> None:
    options = GenerationOptions.of(arguments, 256)
    assert (options.max_tokens, options.stop) == expected
    assert options.sampling == Sampling()


def test_draws_repeat_with_the_seed_of_torch() -> None:
    def seeds() -> list[int | None]:
        torch.manual_seed(3)
        return [GenerationOptions.of({"temperature": 0.5}, 1).sampling.seed for _ in range(2)]

    first = seeds()
    assert first == seeds()
    assert first[0] != first[1]


@pytest.mark.parametrize(
    ("arguments", "temperature"),
    [({"temperature": 0.5}, 0.5), ({"do_sample": True}, 1.0), ({"do_sample": True, "temperature": 0.0}, 0.0)],
)
def test_what_draws_has_a_temperature(arguments: dict[str, object], temperature: float) -> None:
    sampling = GenerationOptions.of({**arguments, "top_p": 0.9, "top_k": 4, "repetition_penalty": 1.2}, 1).sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (temperature, 0.9, 4)
    assert sampling.repetition_penalty == 1.2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_beams": 4}, "beam search is not supported"),
        ({"image_aspect_ratio": "pad"}, "generates with image_aspect_ratio"),
    ],
)
def test_what_is_not_supported_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ModRWKVError, match=message):
        GenerationOptions.of(arguments, 256)
