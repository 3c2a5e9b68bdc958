from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torchmetrics.functional.text import perplexity

from modrwkv_core.errors import ComponentError
from modrwkv_core.evaluation.config import BitsPerByteConfig, GreedyMatchConfig, PerplexityConfig
from modrwkv_core.evaluation.likelihood_metrics import BitsPerByte, GreedyMatch, Perplexity
from modrwkv_core.interfaces.likelihood import LogLikelihood
from modrwkv_core.testing import MetricContract


class LikelihoodContract(MetricContract):
    plugin = "modrwkv_core.builtin"

    def samples(self, config: Any) -> list[tuple[Any, Any]]:
        return [(LogLikelihood(-2.0, 4, True), "one two"), (LogLikelihood(-9.0, 5, True), "und drei")]

    def worse(self, config: Any) -> list[tuple[Any, Any]]:
        return [(LogLikelihood(-3.0, 4, False), "one two"), (LogLikelihood(-9.0, 5, True), "und drei")]


class TestPerplexity(LikelihoodContract):
    name = "perplexity"
    configs = ({"unit": "word"}, {"unit": "token"})


class TestBitsPerByte(LikelihoodContract):
    name = "bits_per_byte"


class TestGreedyMatch(LikelihoodContract):
    name = "greedy_match"


del LikelihoodContract  # pytest would collect it


def test_perplexity_of_tokens_is_that_of_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(3, 7, 11, generator=generator), torch.randint(0, 11, (3, 7), generator=generator)
    metric = Perplexity(PerplexityConfig(unit="token"))
    for row, ids in zip(logits, targets, strict=True):
        total = float(row.log_softmax(-1).gather(1, ids[:, None]).sum())
        metric.update(LogLikelihood(total, len(ids), False), "x")
    assert metric.compute() == pytest.approx(float(perplexity(logits, targets)), rel=1e-5)


def test_bits_and_words_do_not_depend_on_the_tokens() -> None:
    # A fair coin for each bit of four bytes; two words of 16 bits each.
    likelihood = LogLikelihood(32 * math.log(0.5), 3, False)
    bits, words = BitsPerByte(BitsPerByteConfig()), Perplexity(PerplexityConfig())
    for metric in (bits, words):
        metric.update(likelihood, "ü x")
    assert bits.compute() == pytest.approx(8.0)
    assert words.compute() == pytest.approx(2**16)
    assert (bits.name, words.name) == ("bits_per_byte", "word_perplexity")


def test_hopeless_texts_have_infinite_perplexity() -> None:
    metric = Perplexity(PerplexityConfig())
    metric.update(LogLikelihood(-1e6, 1, False), "word")
    assert metric.compute() == math.inf


def test_what_is_no_likelihood_is_refused() -> None:
    with pytest.raises(ComponentError, match="takes the log-likelihood of a text, not str and str"):
        GreedyMatch(GreedyMatchConfig()).update("a", "a")
