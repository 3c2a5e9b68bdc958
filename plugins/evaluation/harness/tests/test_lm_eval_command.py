"""lm-evaluation-harness in an environment of its own, by its own command, against our own metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import modrwkv_core
from modrwkv_core.evaluation.config import BitsPerByteConfig, PerplexityConfig
from modrwkv_core.evaluation.likelihood_metrics import BitsPerByte, Perplexity
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Text, Turn

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent
QUESTIONS = [
    {"question": "Where did the cat sit?", "choices": ["on the mat", "on the hill"], "answer": 0},
    {"question": "What fell all day?", "choices": ["a ball", "rain", "the mat"], "answer": 1},
    {"question": "Who ran after the ball?", "choices": ["rain", "the cat", "a dog"], "answer": 2},
    {"question": "Who sat?", "choices": ["the hill", "the cat"], "answer": 1},
]
DOCUMENTS = ["the cat sat on the mat and ran", "rain fell on the hill all day and a dog ran", "the ball"]
TASKS: dict[str, dict[str, Any]] = {
    "choices": {
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "documents": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    },
    "answers": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{choices[answer]}}",
        "generation_kwargs": {"until": ["\n", "e"], "max_gen_toks": 6, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
}


@pytest.fixture(scope="module")
def run(train_run: Callable[..., Path]) -> Path:
    return train_run()


@pytest.fixture(scope="module")
def session(run: Path) -> Session:
    return modrwkv_core.load(run, device="cpu")


@pytest.fixture
def evaluate(harness: Callable[[str], Any], run: Path, tmp_path: Path) -> Callable[..., tuple[Any, Any]]:
    """Run the harness's command; returns the results and the samples of each task."""
    environment = harness("lm-eval")

    def call(*options: str) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        data = {"choices": QUESTIONS, "documents": [{"text": text} for text in DOCUMENTS], "answers": QUESTIONS}
        for name, task in TASKS.items():
            file = tmp_path / f"{name}.jsonl"
            file.write_text("".join(json.dumps(one) + "\n" for one in data[name]))
            local = {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(file)}}}
            (tmp_path / "tasks").mkdir(exist_ok=True)
            (tmp_path / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump({**local, "test_split": "test", **task}))
        command = ["-m", "modrwkv_eval", "run", "--model", "modrwkv", "--model_args", f"run={run}"]
        places = ["--include_path", "tasks", "--output_path", "out", "--log_samples"]
        environment.run([*command, *places, "--device", "cpu", "--batch_size", "3", *options], tmp_path)
        [results] = (tmp_path / "out").rglob("results_*.json")
        samples = {
            file.name.removeprefix("samples_").rpartition("_")[0]: [
                json.loads(line) for line in file.read_text().splitlines()
            ]
            for file in (tmp_path / "out").rglob("samples_*.jsonl")
        }
        return json.loads(results.read_text())["results"], samples

    return call


def test_the_class_passes_its_tests_with_the_harness(harness: Callable[[str], Any], tmp_path: Path) -> None:
    tests = TESTS / "test_language_model.py"
    environment = harness("lm-eval")
    printed = environment.run(["-m", "pytest", "-W", "default", "-p", "no:cacheprovider", "-rs", tests], tmp_path)
    assert " passed" in printed
    assert "skipped" not in printed


def best(totals: list[float]) -> int:
    return max(range(len(totals)), key=totals.__getitem__)


def test_the_command_gives_the_figures_of_our_own_metrics(
    evaluate: Callable[..., tuple[Any, Any]], session: Session
) -> None:
    results, samples = evaluate("--tasks", "choices", "documents", "answers")
    right: list[bool] = []
    for question, sample in zip(QUESTIONS, samples["choices"], strict=True):
        context = (Turn("user", (Text(f"Question: {question['question']}\nAnswer:"),)),)
        choices = [f" {choice}" for choice in question["choices"]]
        found = session.log_likelihoods([context] * len(choices), choices, chat=False)
        reported = [float(response[0][0]) for response in sample["resps"]]
        assert reported == pytest.approx([one.total for one in found], rel=1e-4)
        right.append(best([one.total for one in found]) == question["answer"])
    assert results["choices"]["acc,none"] == sum(right) / len(right)

    likelihoods = session.log_likelihoods([()] * len(DOCUMENTS), DOCUMENTS, chat=False)
    for name, metric in (
        ("word_perplexity", Perplexity(PerplexityConfig())),
        ("bits_per_byte", BitsPerByte(BitsPerByteConfig())),
    ):
        parts = [metric.statistics(one, text) for one, text in zip(likelihoods, DOCUMENTS, strict=True)]
        expected = metric.score([sum(column) for column in zip(*parts, strict=True)])
        assert results["documents"][f"{name},none"] == pytest.approx(expected, rel=1e-4)

    asked = [
        Request(prompt=[0, *session.model.tokenizer.encode(one["question"])], max_tokens=6, stop=("\n", "e"))
        for one in QUESTIONS
    ]
    expected = [answer.text for answer in session.generate_batch(asked)]
    assert any(expected)
    assert [sample["resps"][0][0] for sample in samples["answers"]] == expected


def test_the_chat_template_is_the_models_own(evaluate: Callable[..., tuple[Any, Any]], session: Session) -> None:
    _, samples = evaluate("--tasks", "choices", "--apply_chat_template")
    for question, sample in zip(QUESTIONS, samples["choices"], strict=True):
        turns = (Turn("user", (Text(f"Question: {question['question']}\nAnswer:"),)),)
        choices = question["choices"]
        found = session.log_likelihoods([turns] * len(choices), choices, end=False)
        reported = [float(response[0][0]) for response in sample["resps"]]
        assert reported == pytest.approx([one.total for one in found], rel=1e-4)
