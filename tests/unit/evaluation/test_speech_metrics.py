from __future__ import annotations

import subprocess
import sys
from typing import Any

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st
from whisper_normalizer.english import EnglishTextNormalizer

from modrwkv_core.evaluation.config import CharacterErrorRateConfig, WordErrorRateConfig
from modrwkv_core.evaluation.speech_metrics import CharacterErrorRate, WordErrorRate
from modrwkv_core.interfaces.metric import Metric
from modrwkv_core.testing import MetricContract


class TranscriptContract(MetricContract):
    plugin = "modrwkv_core.builtin"
    configs = ({}, {"normalization": "basic"}, {"normalization": "english"})

    def samples(self, config: Any) -> list[tuple[Any, Any]]:
        return [("the cat sat", "the cat sat"), ("on a mat", "on the mat")]

    def worse(self, config: Any) -> list[tuple[Any, Any]]:
        return [("the cat", "the cat sat"), ("on a mat", "on the mat")]


class TestWordErrorRate(TranscriptContract):
    name = "wer"


class TestCharacterErrorRate(TranscriptContract):
    name = "cer"
    configs = (*TranscriptContract.configs, {"ignore_spaces": True})


del TranscriptContract  # pytest would collect it


def score(metric: Metric[Any], truths: list[str], said: list[str]) -> float:
    for prediction, truth in zip(said, truths, strict=True):
        metric.update(prediction, truth)
    return metric.compute()


WORDS = st.lists(st.sampled_from(["a", "b", "cat", "dog", "dogs"]), min_size=1, max_size=6).map(" ".join)


@given(st.lists(st.tuples(WORDS, WORDS | st.just("")), min_size=1, max_size=5))
def test_rates_are_those_of_jiwer_over_all_samples(pairs: list[tuple[str, str]]) -> None:
    truths, said = [truth for truth, _ in pairs], [prediction for _, prediction in pairs]
    assert score(WordErrorRate(WordErrorRateConfig()), truths, said) == pytest.approx(jiwer.wer(truths, said))
    assert score(CharacterErrorRate(CharacterErrorRateConfig()), truths, said) == pytest.approx(jiwer.cer(truths, said))


def test_transcripts_are_normalized_as_whisper_does() -> None:
    truths, said = ["Mr. Smith's colour isn't twenty-one!"], ["mister smith's color is not 21"]
    normalize = EnglishTextNormalizer()
    assert normalize(truths[0]) == normalize(said[0])
    metric = WordErrorRate(WordErrorRateConfig(normalization="english"))
    assert (score(metric, truths, said), metric.name) == (0.0, "wer_english")
    assert score(WordErrorRate(WordErrorRateConfig()), truths, said) > 0.5


def test_spaces_can_be_left_out() -> None:
    assert score(CharacterErrorRate(CharacterErrorRateConfig(ignore_spaces=True)), ["甚至 出现"], ["甚至出显"]) == 0.25
    assert score(CharacterErrorRate(CharacterErrorRateConfig()), ["甚至 出现"], ["甚至出显"]) == pytest.approx(2 / 5)


def test_silence_counts_by_what_was_said() -> None:
    assert score(WordErrorRate(WordErrorRateConfig()), ["", "a b"], ["x y", "a b"]) == 1.0
    assert score(WordErrorRate(WordErrorRateConfig()), [""], ["x"]) == float("inf")
    assert score(WordErrorRate(WordErrorRateConfig()), [""], [""]) == 0.0


def test_rates_are_written_in_per_cent() -> None:
    metric = WordErrorRate(WordErrorRateConfig())
    assert (metric.format(0.1234), metric.format_difference(-0.01)) == ("12.34 %", "-1.00 points")
    assert metric.correct("a b", "a b") is True
    assert metric.correct("a", "a b") is False


def test_without_the_extra_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['jiwer'] = None\n"
        "from modrwkv_core.registry import discover\n"
        "from modrwkv_core.errors import ComponentError\n"
        "try: discover().implementation('metric', 'wer')\n"
        "except ComponentError as error: print(error)"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "pip install 'modrwkv[evaluation]'" in printed
