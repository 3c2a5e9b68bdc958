"""Drawing against transformers' processors of logits, and against OpenAI's formula of penalties."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.sampler import Drawn, Sampler, draw
from modrwkv_core.inference.sampling import Sampling

LOGITS = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
NONE = torch.tensor([], dtype=torch.int64)

# Apart enough that rounding cannot swap two of them.
logits_lists = st.lists(st.integers(-3000, 3000), min_size=2, max_size=12, unique=True).map(
    lambda values: torch.tensor(values, dtype=torch.float64) / 300.0
)
shares = st.floats(0.01, 0.99)


def sampler(sampling: Sampling, logits: Tensor, banned: Tensor = NONE, **settings: Any) -> Sampler:
    return Sampler(sampling, vocab_size=logits.shape[-1], banned=banned, **settings)


def frequencies(sampling: Sampling, draws: int = 1500) -> list[float]:
    drawing = sampler(sampling, LOGITS)
    drawn = Counter(drawing.draw(LOGITS).token for _ in range(draws))
    return [drawn[token] / draws for token in range(4)]


def test_greedy_takes_the_likeliest() -> None:
    assert frequencies(Sampling(), draws=3) == [1.0, 0.0, 0.0, 0.0]


def test_draws_follow_the_distribution() -> None:
    assert frequencies(Sampling(temperature=1.0, seed=0)) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.04)
    squares = torch.tensor([0.25, 0.09, 0.0225, 0.0025])
    assert frequencies(Sampling(temperature=0.5, seed=0)) == pytest.approx((squares / squares.sum()).tolist(), abs=0.04)
    assert frequencies(Sampling(temperature=1.0, top_p=0.7, seed=0)) == pytest.approx([0.625, 0.375, 0, 0], abs=0.04)


def test_a_seed_repeats_and_none_does_not() -> None:
    flat = torch.zeros(1000)

    def draws(seed: int | None) -> list[int]:
        drawing = sampler(Sampling(temperature=1.0, seed=seed), flat)
        return [drawing.draw(flat).token for _ in range(20)]

    assert draws(7) == draws(7) != draws(8)
    assert draws(None) != draws(None)


def _near(values: Tensor, border: float) -> bool:
    return bool(((values - border).abs() < 1e-9).any())


def _sums_near(logits: Tensor, share: float) -> bool:
    return _near(logits.softmax(-1).sort(descending=True).values.cumsum(-1), share)


def _typical_is_close(logits: Tensor, share: float) -> bool:
    """Whether two tokens are equally typical, or a sum meets the border, so that rounding decides."""
    logprobs = logits.log_softmax(-1)
    distances, order = (-logprobs + (logprobs.exp() * logprobs).sum()).abs().sort()
    return _near(distances.diff(), 0.0) or _near(logprobs.exp()[order].cumsum(-1), share)


@pytest.mark.parametrize(
    ("name", "judge", "values", "undecided"),
    [
        ("top_k", TopKLogitsWarper, st.integers(1, 15), lambda logits, value: False),
        ("top_p", TopPLogitsWarper, shares, _sums_near),
        ("min_p", MinPLogitsWarper, shares, lambda logits, value: _near((logits - logits.max()).exp(), value)),
        ("typical_p", TypicalLogitsWarper, shares, _typical_is_close),
    ],
)
@given(data=st.data())
def test_each_filter_keeps_what_transformers_keeps(
    name: str,
    judge: Callable[..., Any],
    values: st.SearchStrategy[float],
    undecided: Callable[[Tensor, float], bool],
    data: st.DataObject,
) -> None:
    logits, value = data.draw(logits_lists), data.draw(values)
    temperature = data.draw(st.floats(0.2, 3.0))
    cooled = TemperatureLogitsWarper(temperature)(NONE[None], logits[None])
    assume(not undecided(cooled[0], value))
    expected = judge(value)(NONE[None], cooled)[0].softmax(-1)
    sampling = Sampling(temperature, **{name: value})
    torch.testing.assert_close(sampler(sampling, logits).probabilities(logits), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("spread", [0.1, 3.0])
@pytest.mark.parametrize(("name", "judge"), [("top_p", TopPLogitsWarper), ("typical_p", TypicalLogitsWarper)])
@pytest.mark.parametrize("share", [0.2, 0.9])
def test_filters_of_a_large_vocabulary_agree(name: str, judge: Callable[..., Any], share: float, spread: float) -> None:
    logits = torch.randn(2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * spread
    expected = judge(share)(NONE[None], logits[None])[0].softmax(-1)
    sampling = Sampling(1.0, **{name: share})
    torch.testing.assert_close(sampler(sampling, logits).probabilities(logits), expected, atol=1e-12, rtol=0)


@given(logits=logits_lists, top_k=st.integers(1, 12), top_p=shares, min_p=shares)
def test_filters_apply_in_the_order_of_transformers(logits: Tensor, top_k: int, top_p: float, min_p: float) -> None:
    scores = TopKLogitsWarper(top_k)(NONE[None], logits[None])
    assume(not _sums_near(scores[0], top_p))
    scores = TopPLogitsWarper(top_p)(NONE[None], scores)
    assume(not _near((logits - logits.max()).exp(), min_p))
    expected = MinPLogitsWarper(min_p)(NONE[None], scores)[0].softmax(-1)
    sampling = Sampling(1.0, top_k=top_k, top_p=top_p, min_p=min_p)
    torch.testing.assert_close(sampler(sampling, logits).probabilities(logits), expected, atol=1e-12, rtol=0)


@given(logits=logits_lists, penalty=st.floats(0.5, 2.0), draws=st.integers(1, 6))
def test_repetition_is_penalized_as_by_transformers(logits: Tensor, penalty: float, draws: int) -> None:
    drawing = sampler(Sampling(1.0, seed=0, repetition_penalty=penalty), logits)
    answer = [drawing.draw(logits).token for _ in range(draws)]
    expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([answer]), logits[None].clone())[0]
    torch.testing.assert_close(drawing.probabilities(logits), expected.softmax(-1), atol=1e-12, rtol=0)


@given(
    logits=logits_lists,
    presence=st.floats(-2, 2),
    frequency=st.floats(-2, 2),
    bias=st.floats(-100, 100),
    draws=st.integers(1, 6),
)
def test_penalties_and_biases_follow_the_formula_of_openai(
    logits: Tensor, presence: float, frequency: float, bias: float, draws: int
) -> None:
    sampling = Sampling(1.0, seed=0, presence_penalty=presence, frequency_penalty=frequency, logit_bias={1: bias})
    drawing = sampler(sampling, logits)
    counts = Counter(drawing.draw(logits).token for _ in range(draws))
    # mu[j] -> mu[j] - c[j] * alpha_frequency - float(c[j] > 0) * alpha_presence
    expected = [mu - counts[j] * frequency - float(counts[j] > 0) * presence for j, mu in enumerate(logits.tolist())]
    expected[1] += bias
    torch.testing.assert_close(
        drawing.probabilities(logits), torch.tensor(expected, dtype=torch.float64).softmax(-1), atol=1e-12, rtol=0
    )


def test_penalties_change_greedy_answers() -> None:
    logits = torch.tensor([1.0, 0.9, 0.0])
    drawing = sampler(Sampling(presence_penalty=0.5), logits)
    assert [drawing.draw(logits).token for _ in range(3)] == [0, 1, 0]


@given(
    temperature=st.floats(0.0, 1e300),
    top_p=st.floats(0.0, 1.0, exclude_min=True),
    min_p=st.floats(0.0, 1.0),
    typical_p=st.floats(0.0, 1.0, exclude_min=True),
    top_k=st.integers(0, 8),
    repetition_penalty=st.floats(0.01, 100.0),
    logits=st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=2, max_size=6),
)
def test_no_arithmetic_breaks_a_draw(logits: list[float], **settings: Any) -> None:
    scores = torch.tensor([*logits, 2.0**99])
    drawing = sampler(Sampling(seed=1, **settings), scores, banned=torch.tensor([len(logits)]), top_logprobs=1)
    for _ in range(2):
        assert float(drawing.probabilities(scores).sum()) == pytest.approx(1.0, abs=1e-5)
        drawn = drawing.draw(scores)
        assert drawn.token < len(logits), "a banned token is never drawn"
        assert drawn.logprob is not None
        assert drawn.logprob <= 0.0
    if settings["temperature"] < 1e-200 and settings["typical_p"] == 1.0 == settings["repetition_penalty"]:
        assert scores[drawn.token] == max(logits), "the coldest draws take the likeliest"


@given(logits=logits_lists, number=st.integers(0, 5), temperature=st.sampled_from([0.0, 1.0]))
def test_log_probabilities_are_the_models_own(logits: Tensor, number: int, temperature: float) -> None:
    number = min(number, len(logits) - 1)
    sampling = Sampling(temperature, seed=0, top_k=1, logit_bias={0: 50.0})
    drawn = sampler(sampling, logits, banned=torch.tensor([1]), top_logprobs=number).draw(logits)
    kept = {token: math.exp(value) for token, value in enumerate(logits.tolist()) if token != 1}
    logprobs = {token: math.log(value / sum(kept.values())) for token, value in kept.items()}
    assert drawn.logprob == pytest.approx(logprobs[drawn.token], abs=1e-9)
    likeliest = sorted(logprobs, key=lambda token: logprobs[token], reverse=True)[:number]
    assert [token for token, _ in drawn.top_logprobs] == likeliest
    assert [value for _, value in drawn.top_logprobs] == pytest.approx([logprobs[t] for t in likeliest], abs=1e-9)


samplings = st.one_of(
    st.just(Sampling()),
    st.builds(
        Sampling,
        temperature=st.sampled_from([0.0, 0.7, 1.5]),
        top_p=st.sampled_from([0.5, 1.0]),
        seed=st.integers(0, 9),
        top_k=st.integers(0, 4),
        frequency_penalty=st.sampled_from([0.0, 1.0]),
    ),
)


@given(
    settings=st.lists(st.tuples(samplings, st.sampled_from([None, 0, 2]), st.sampled_from([0, 1])), min_size=1),
    seed=st.integers(0, 99),
)
def test_no_answer_depends_on_the_others(settings: list[tuple[Sampling, int | None, int]], seed: int) -> None:
    steps = torch.randn(3, len(settings), 8, generator=torch.Generator().manual_seed(seed))
    banned = [torch.tensor([3]), torch.tensor([0, 5])]

    def samplers() -> list[Sampler]:
        return [sampler(one, steps, banned[ban], top_logprobs=top) for one, top, ban in settings]

    together = samplers()
    drawn = [draw(logits, together) for logits in steps]
    alone: list[list[Drawn]] = [[one.draw(logits[row]) for logits in steps] for row, one in enumerate(samplers())]
    assert [list(answer) for answer in zip(*drawn, strict=True)] == alone


def test_settings_that_do_not_fit_the_vocabulary_are_refused() -> None:
    with pytest.raises(ModRWKVError, match="names the token 4, but the vocabulary has 4"):
        sampler(Sampling(logit_bias={4: 1.0}), LOGITS)
    with pytest.raises(ModRWKVError, match="top_logprobs is 4"):
        sampler(Sampling(), LOGITS, banned=torch.tensor([0]), top_logprobs=4)
