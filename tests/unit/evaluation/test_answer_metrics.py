from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score
from torchmetrics.functional.text import squad

from modrwkv_core.errors import ComponentError
from modrwkv_core.evaluation.answer_metrics import ExactMatch, Pope, VqaAccuracy
from modrwkv_core.evaluation.config import ExactMatchMetricConfig, PopeConfig, VqaAccuracyConfig
from modrwkv_core.evaluation.normalization import normalize_vqa
from modrwkv_core.testing import MetricContract
from modrwkv_core.testing.metric import score

SQUAD = ExactMatch(ExactMatchMetricConfig(normalization="squad"))
VQA = VqaAccuracy(VqaAccuracyConfig())


class TestVqaAccuracy(MetricContract):
    plugin = "modrwkv_core.builtin"
    name = "vqa_accuracy"

    def samples(self, config: Any) -> list[tuple[Any, Any]]:
        return [("red", ("red",) * 6 + ("pink",) * 4), ("2", ("two", "2", "3", "4"))]

    def worse(self, config: Any) -> list[tuple[Any, Any]]:
        return [("blue", ("red",) * 6 + ("pink",) * 4), ("2", ("two", "2", "3", "4"))]


class TestPope(MetricContract):
    plugin = "modrwkv_core.builtin"
    name = "pope"
    configs = tuple({"measure": measure} for measure in ("accuracy", "precision", "recall", "f1", "yes_ratio"))

    def samples(self, config: Any) -> list[tuple[Any, Any]]:
        return [("yes", "yes"), ("no", "no"), ("yes", "no"), ("Yes, it is.", "yes")]

    def worse(self, config: Any) -> list[tuple[Any, Any]]:
        return [("no", "yes"), ("no", "no"), ("yes", "no"), ("yes", "yes")]


@pytest.mark.parametrize(
    ("said", "annotators", "accuracy"),
    [
        # What the official evaluation program of VQA v2 gives for these answers.
        ("Two dogs.", ("2 dogs",) * 3 + ("dogs",) * 5 + ("two dog", "the 2 dogs"), 1.0),
        ("t-shirt", ("t shirt",) * 2 + ("shirt",) * 8, 0.6),
        ("yes", ("yes",) * 10, 1.0),
        ("no", ("yes",) * 9 + ("no",), 0.3),
        ("5 o'clock", ("5 oclock",) * 4 + ("5:00",) * 6, 1.0),
        ("1,000", ("1000",) * 3 + ("many",) * 7, 0.9),
        ("dont know", ("don't know",) * 2 + ("unsure",) * 8, 0.6),
        ("the red, car", ("red car",) * 5 + ("car",) * 5, 1.0),
    ],
)
def test_soft_accuracy_is_that_of_the_official_program(said: str, annotators: tuple[str, ...], accuracy: float) -> None:
    assert score(VQA, (said, annotators)) == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("None", "0"),
        ("It isnt a TEN.", "it isn't 10"),
        ("3.5 (left)", "3.5 left"),
        ("yes/no", "yes no"),
        ("she'dve\tgone\n", "she'd've gone"),
        ("somebody\u2019d", "somebodyd"),
        ("12,500 people!", "12500 people"),
    ],
)
def test_vqa_answers_are_normalized_as_published(answer: str, normal: str) -> None:
    assert normalize_vqa(answer) == normal


def test_too_few_annotators_are_refused() -> None:
    with pytest.raises(ComponentError, match="at least 4 annotators, not 1"):
        score(VQA, ("red", "red"))


@given(st.lists(st.text("aAtThHeE nN.,!x-", max_size=9), min_size=2, max_size=4))
def test_squad_normalization_is_that_of_the_scorer(texts: list[str]) -> None:
    said, *truths = texts
    judged = squad(
        {"prediction_text": said, "id": "1"},
        {"answers": {"answer_start": [0] * len(truths), "text": truths}, "id": "1"},
    )
    assert 100 * score(SQUAD, (said, tuple(truths))) == float(judged["exact_match"])


def test_any_of_several_true_answers_counts() -> None:
    assert SQUAD.correct("The Cat!", ("dog", "a cat"))
    assert not SQUAD.correct("The Cat!", ("dog", "cats"))
    assert SQUAD.name == "exact_match_squad"
    assert ExactMatch(ExactMatchMetricConfig(normalization="vqa")).correct("two", "2")


YES_NO = st.lists(
    st.tuples(
        st.sampled_from(["yes", "Yes, there is.", "No", "There is not.", "no, it is", "Yes. No", "maybe", ""]),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


@given(YES_NO)
def test_pope_reports_what_scikit_learn_does(samples: list[tuple[str, bool]]) -> None:
    negative = {"No", "There is not.", "no, it is"}
    said = [answer not in negative for answer, _ in samples]
    true = [truth for _, truth in samples]
    judged = {
        "accuracy": accuracy_score(true, said),
        "precision": precision_score(true, said, zero_division=0.0),
        "recall": recall_score(true, said, zero_division=0.0),
        "f1": f1_score(true, said, zero_division=0.0),
        "yes_ratio": sum(said) / len(said),
    }
    pairs = [(answer, "Yes" if truth else "no") for answer, truth in samples]
    for measure, expected in judged.items():
        metric = Pope(PopeConfig.model_validate({"measure": measure}))
        assert score(metric, *pairs) == pytest.approx(expected), measure


def test_popes_share_of_yes_has_no_direction() -> None:
    assert Pope(PopeConfig(measure="yes_ratio")).higher_is_better is None
    assert Pope(PopeConfig()).higher_is_better is True
    assert Pope(PopeConfig()).name == "pope_f1"
    assert Pope(PopeConfig()).correct("Not at all", "no") is False  # "Not" is none of POPE's words
    with pytest.raises(ComponentError, match="by yes or no, not by red"):
        score(Pope(PopeConfig()), ("yes", "red"))
