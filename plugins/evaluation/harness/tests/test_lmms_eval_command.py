"""lmms-eval in an environment of its own, by its own command and tasks, against our own metrics.

The data sets are a few generated records each, in the columns, configurations and splits that their hosts publish.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL.Image
import pyarrow.parquet
import pytest
import soundfile
import yaml
from modrwkv_eval import TASKS

import modrwkv_core
from modrwkv_core.evaluation.answer_metrics import ExactMatch, Pope, VqaAccuracy
from modrwkv_core.evaluation.config import (
    CharacterErrorRateConfig,
    ExactMatchMetricConfig,
    PopeConfig,
    VqaAccuracyConfig,
    WordErrorRateConfig,
)
from modrwkv_core.evaluation.speech_metrics import CharacterErrorRate, WordErrorRate
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.metric import AdditiveMetric
from modrwkv_core.interfaces.record import Media, Text, Turn

pytestmark = pytest.mark.slow

RATE = 8000
PHRASE = "\nAnswer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
TRANSCRIBE = "Please recognize the speech and only output the recognized content:"
TRANSCRIBE_MANDARIN = "请识别这段语音,只输出识别的内容:"
OPTIONS = ("stone", "bird")
LISTED = "A. stone\nB. bird"

# Question, true answer, and what the model learns to say, which is wrong for some.
VQA = [("Is it red?", "yes", "yes"), ("Which color is it?", "green", "green"), ("How many?", "2", "3")]
GQA = [("Is the wall blue?", "no", "no"), ("What is round?", "ball", "cup"), ("Who sits?", "cat", "cat")]
TEXT = [("what does it say?", "stop", "stop"), ("which brand?", "acme", "acme"), ("what year?", "1999", "2001")]
POPE = [("Is there a cat?", "yes", "yes"), ("Is there a dog?", "no", "yes"), ("Is there a cup?", "no", "no")]
SCIENCE = [("Which is a solid?", "B", "B"), ("Which is warm?", "A", "B"), ("Which one flies?", "B", "B")]
BENCH = [("What is in front?", "A", "A"), ("Which is taller?", "B", "B"), ("What comes next?", "B", "A")]
UNIVERSITY = [("What is shown in <image 1>?", "B", "B"), ("Compute the sum of <image 1>", "A", "B")]
SPEECH = [("HELLO WORLD", "hello world"), ("GOOD MORNING ALL", "good evening all")]
MANDARIN = [("BAC009S0764W0121", "甚至 出现", "甚至出现"), ("BAC009S0765W0122", "一 二 三", "一二四")]


@dataclass(frozen=True)
class Example:
    """What is asked: texts, images and paths of sounds, in order; true answers; what the model learns to say."""

    parts: tuple[str | PIL.Image.Image | Path, ...]
    truth: str | tuple[str, ...]
    learned: str

    def turns(self) -> tuple[Turn]:
        made = [
            Text(part) if isinstance(part, str) else Media("audio" if isinstance(part, Path) else "image", part)
            for part in self.parts
        ]
        return (Turn("user", tuple(made)),)


def image(index: int) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (16, 16), ("red", "green", "blue")[index])


def sound(path: Path, index: int) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.5 * np.sin(2 * np.pi * 300 * (index + 1) * np.arange(RATE // 4) / RATE), RATE)
    return path


def annotators(answer: str) -> tuple[str, ...]:
    """Ten answers, as those of VQA's annotators: most of them the true one."""
    return (*[answer] * 8, "maybe", "perhaps")


def asked(rows: Sequence[tuple[str, str, str]], prompt: Callable[[str], str], *, many: bool = False) -> list[Example]:
    return [
        Example((image(at), prompt(question)), annotators(truth) if many else truth, learned)
        for at, (question, truth, learned) in enumerate(rows)
    ]


def around(question: str, index: int) -> tuple[str | PIL.Image.Image, ...]:
    """Put MMMU's image where its question names it."""
    before, after = question.split("<image 1>")
    return before.strip(), image(index), f"{after}\n{LISTED}\n\n{LETTER}".strip()


def examples(folder: Path) -> dict[str, list[Example]]:
    """What each of the harness's tasks asks."""
    sounds = [sound(folder / "sounds" / f"{at}.wav", at) for at in range(len(SPEECH))]
    wav = folder / "data_aishell" / "wav" / "test"
    recordings = [sound(wav / name[6:11] / f"{name}.wav", 4 + at) for at, (name, _, _) in enumerate(MANDARIN)]
    return {
        "vqav2_val": asked(VQA, lambda question: question + PHRASE, many=True),
        "gqa": asked(GQA, lambda question: question + PHRASE),
        "scienceqa_img": asked(SCIENCE, lambda question: f"Context: Look.\n{question}\n{LISTED}\n{LETTER}"),
        "textvqa_val": asked(TEXT, lambda question: question.capitalize() + PHRASE, many=True),
        "pope": asked(POPE, lambda question: question + PHRASE),
        "mmbench_en_dev_static": asked(
            BENCH, lambda question: f"Look closely. {question} There are several options:\n{LISTED}\n\n{LETTER}"
        ),
        "mmmu_val": [Example(around(one, at), true, said) for at, (one, true, said) in enumerate(UNIVERSITY)],
        "librispeech_test_clean": [
            Example((path, TRANSCRIBE), true, said) for path, (true, said) in zip(sounds, SPEECH, strict=True)
        ],
        "aishell1": [
            Example((path, TRANSCRIBE_MANDARIN), true, said)
            for path, (_, true, said) in zip(recordings, MANDARIN, strict=True)
        ],
    }


def write_split(folder: Path, config: str, split: str, rows: Sequence[Mapping[str, Any]], **types: Any) -> None:
    """Write a split as Parquet, with a card that names it, as the Hugging Face Hub lays data sets out."""
    table = datasets.Dataset.from_dict({name: [row[name] for row in rows] for name in rows[0]})
    for name, feature in types.items():
        table = table.cast_column(name, feature)
    (folder / config).mkdir(parents=True, exist_ok=True)
    file = folder / config / f"{split}-00000-of-00001.parquet"
    table.to_parquet(file)
    arrow = pyarrow.parquet.read_table(file)
    described = json.loads(arrow.schema.metadata[b"huggingface"])
    metadata = {"huggingface": json.dumps(_as_published(described))}
    pyarrow.parquet.write_table(arrow.replace_schema_metadata(metadata), file)
    card = folder / "README.md"
    configs = yaml.safe_load(card.read_text().strip("-\n"))["configs"] if card.exists() else []
    configs.append({"config_name": config, "data_files": [{"split": split, "path": f"{config}/{split}-*"}]})
    card.write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n")


def _as_published(feature: Any) -> Any:
    """Describe lists as datasets 3 and older do, by which the published files were written."""
    match feature:
        case {"_type": "List", "feature": {"_type": str()} as inner}:
            return {"_type": "Sequence", "feature": _as_published(inner)}
        case {"_type": "List", "feature": inner}:
            return [_as_published(inner)]
        case dict():
            return {name: _as_published(value) for name, value in feature.items()}
    return feature


def write_image_benchmarks(folder: Path) -> None:
    hub, picture = folder / "lmms-lab-encoder", {"image": datasets.Image()}

    def shown(index: int) -> dict[str, Any]:
        image(index).save(folder / "picture.png")
        return {"bytes": (folder / "picture.png").read_bytes(), "path": None}

    def rows(data: Sequence[tuple[str, str, str]], **fixed: Any) -> list[dict[str, Any]]:
        return [
            {**fixed, "question": question, "answer": truth, "image": shown(at)}
            for at, (question, truth, _) in enumerate(data)
        ]

    vqa = rows(VQA, question_type="is it", answer_type="other")
    for at, row in enumerate(vqa):
        given = [{"answer": one, "answer_confidence": "yes"} for one in annotators(row["answer"])]
        row["multiple_choice_answer"] = row.pop("answer")
        row["answers"] = [{**one, "answer_id": number} for number, one in enumerate(given, 1)]
        row |= {"image_id": at, "question_id": at}
    write_split(hub / "VQAv2", "default", "validation", vqa, **picture)

    gqa = rows(GQA, isBalanced=True)
    for at, row in enumerate(gqa):
        row |= {"id": str(at), "imageId": f"n{at}", "fullAnswer": row["answer"]}
    pictures = [{"id": row["imageId"], "image": row.pop("image")} for row in gqa]
    write_split(hub / "GQA", "testdev_balanced_instructions", "testdev", gqa)
    write_split(hub / "GQA", "testdev_balanced_images", "testdev", pictures, **picture)

    science = rows(SCIENCE, choices=list(OPTIONS), hint="Look.", task="closed choice", grade="grade2", lecture="")
    for row in science:
        row["answer"] = "AB".index(row["answer"])
    write_split(hub / "ScienceQA", "ScienceQA-IMG", "test", science, **picture)

    text = rows(TEXT, image_width=16, image_height=16, image_classes=["Sign"], set_name="val", ocr_tokens=["x"])
    for at, row in enumerate(text):
        row |= {"image_id": str(at), "question_id": at, "answers": list(annotators(row.pop("answer")))}
    write_split(hub / "textvqa", "default", "validation", text, **picture)

    pope = rows(POPE, image_source="COCO", category="adversarial")
    for at, row in enumerate(pope):
        row |= {"id": str(at), "question_id": str(at)}
    write_split(hub / "POPE", "default", "test", pope, **picture)

    choices = {"A": "stone", "B": "bird", "C": "nan", "D": "nan", "hint": "Look closely.", "comment": "nan"}
    bench = rows(BENCH, **choices, category="scene", source="made", split="dev")
    for at, row in enumerate(bench):
        row |= {"index": at, "L2-category": "coarse"}
    write_split(hub / "MMBench", "en", "dev", bench, **picture)

    options = {"options": str(list(OPTIONS)), "question_type": "multiple-choice", "topic_difficulty": "Easy"}
    university = rows(UNIVERSITY, **options, explanation="", img_type="['Photographs']", subfield="Drawing")
    for at, row in enumerate(university):
        row |= {"id": f"validation_Art_{at + 1}", "image_1": row.pop("image"), "image_2": None}
    write_split(hub / "MMMU", "default", "validation", university, image_1=datasets.Image(), image_2=datasets.Image())


def write_speech_benchmarks(folder: Path, spoken: Sequence[Example]) -> None:
    split = "librispeech_test_clean"
    rows = []
    for at, example in enumerate(spoken):
        path = example.parts[0]
        assert isinstance(path, Path)
        file = {"bytes": path.read_bytes(), "path": path.name}
        rows.append({"audio": file, "id": str(at), "gt": example.truth, "source": split, "task": "asr_en"})
    write_split(folder / "lmms-lab-audio" / "librispeech", split, split, rows, audio=datasets.Audio())
    # The transcripts of AISHELL-1's training set stand in the same file.
    lines = ["BAC009S0002W0122 而 对 楼市", *(f"{name} {words}" for name, words, _ in MANDARIN)]
    transcripts = folder / "data_aishell" / "transcript" / "aishell_transcript_v0.8.txt"
    transcripts.parent.mkdir(parents=True)
    transcripts.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_training(folder: Path, given: Mapping[str, Sequence[Example]]) -> Path:
    """Write what the model learns its answers from, and return the file."""
    lines = []
    for name, some in given.items():
        for at, example in enumerate(some):
            content: list[dict[str, str]] = []
            for part in example.parts:
                match part:
                    case str():
                        content.append({"type": "text", "text": part})
                    case Path():
                        content.append({"type": "audio", "path": str(part)})
                    case _:
                        path = folder / f"{name}-{at}.png"
                        part.save(path)
                        content.append({"type": "image", "path": str(path)})
            messages = [{"role": "user", "content": content}, {"role": "assistant", "content": example.learned}]
            lines.append(json.dumps({"messages": messages}) + "\n")
    file = folder / "training.jsonl"
    file.write_text("".join(lines))
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the harness runs; a data set below it is found by the name that it has on the hub."""
    folder = tmp_path_factory.mktemp("benchmarks")
    write_image_benchmarks(folder)
    write_speech_benchmarks(folder, examples(folder)["librispeech_test_clean"])
    return folder


@pytest.fixture(scope="module")
def run(train_seeing_run: Callable[..., Path], folder: Path) -> Path:
    train = ["encoder", "adapter", "backbone", "heads"]
    data = {"train": [{"source": "chat", "path": str(write_training(folder, examples(folder)))}], "batch_size": 8}
    return train_seeing_run(
        data=data, phases=[{"name": "pretrain", "train": train, "lr": 6e-3, "steps": 200, "log_every": 50}]
    )


@pytest.fixture(scope="module")
def session(run: Path) -> Session:
    return modrwkv_core.load(run, device="cpu")


def evaluate(environment: Any, folder: Path, run: Path, out: str, *options: str) -> tuple[Any, dict[str, list[Any]]]:
    """Run the harness's command; return the results and the samples of each task."""
    command = ["-m", "lmms_eval", "--model", "modrwkv", "--model_args", f"run={run}", "--device", "cpu"]
    places = ["--include_path", str(TASKS), "--output_path", out, "--log_samples", "--batch_size", "4"]
    printed = environment.run([*command, *places, *options], folder)
    found = list((folder / out).glob("*_results.json"))
    assert found, printed  # the command ends with 0 even where it fails
    [results] = found
    samples = {
        file.stem.partition("_samples_")[2]: [json.loads(line) for line in file.read_text().splitlines()]
        for file in (folder / out).glob("*_samples_*.jsonl")
    }
    return json.loads(results.read_text())["results"], samples


def test_the_classes_pass_their_tests_with_the_harness(harness: Callable[[str], Any], tmp_path: Path) -> None:
    tests = Path(__file__).parent / "test_multimodal_model.py"
    environment = harness("lmms-eval")
    printed = environment.run(["-m", "pytest", "-W", "default", "-p", "no:cacheprovider", "-rs", tests], tmp_path)
    assert " passed" in printed
    assert "skipped" not in printed


def test_the_command_gives_the_figures_of_our_own_metrics(
    harness: Callable[[str], Any], folder: Path, run: Path, session: Session
) -> None:
    given = examples(folder)
    environment = harness("lmms-eval")
    results, samples = evaluate(environment, folder, run, "out", "--tasks", ",".join(given))
    vqa, match = VqaAccuracy(VqaAccuracyConfig()), ExactMatch(ExactMatchMetricConfig())
    pope = {measure: Pope(PopeConfig(measure=measure)) for measure in ("accuracy", "precision", "recall", "f1")}
    expected: dict[tuple[str, str], tuple[AdditiveMetric[Any], float]] = {
        ("vqav2_val", "exact_match"): (vqa, 1),
        ("gqa", "exact_match"): (match, 1),
        ("scienceqa_img", "exact_match"): (match, 1),
        ("textvqa_val", "exact_match"): (vqa, 1),
        ("pope", "pope_accuracy"): (pope["accuracy"], 1),
        ("pope", "pope_precision"): (pope["precision"], 1),
        ("pope", "pope_recall"): (pope["recall"], 1),
        ("pope", "pope_f1_score"): (pope["f1"], 1),
        ("mmbench_en_dev_static", "gpt_eval_score"): (match, 100),
        ("mmmu_val", "mmmu_acc"): (match, 1),
        ("librispeech_test_clean", "wer"): (WordErrorRate(WordErrorRateConfig(normalization="english")), 100),
        ("aishell1", "cer"): (CharacterErrorRate(CharacterErrorRateConfig(ignore_spaces=True)), 100),
    }
    said = {
        task: session.answer([example.turns() for example in some], 40)  # which is enough for what it has learned
        for task, some in given.items()
    }
    for task, some in given.items():
        assert [sample["filtered_resps"] for sample in samples[task]] == [text.strip() for text in said[task]]
        assert sum(text == example.learned for text, example in zip(said[task], some, strict=True)) > 0, said[task]
    figures = []
    for (task, name), (metric, unit) in expected.items():
        pairs = zip(said[task], given[task], strict=True)
        parts = [metric.statistics(text, example.truth) for text, example in pairs]
        figure = unit * metric.score(np.array(parts, dtype=np.float64).sum(axis=0))
        assert results[task][f"{name},none"] == pytest.approx(figure, abs=1e-4), (task, said[task])
        figures.append(figure / unit)
    assert len({round(figure, 3) for figure in figures if 0 < figure < 1}) > 2


def test_choices_are_scored_with_their_image(
    harness: Callable[[str], Any], folder: Path, run: Path, session: Session, tmp_path: Path
) -> None:
    (tmp_path / "utils.py").write_text('def shown(doc):\n    return [doc["image"].convert("RGB")]\n')
    (tmp_path / "science_choices.yaml").write_text(
        "task: science_choices\ndataset_path: lmms-lab-encoder/ScienceQA\ndataset_name: ScienceQA-IMG\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_visual: !function utils.shown\n"
        "doc_to_text: question\ndoc_to_choice: choices\ndoc_to_target: answer\nmetric_list: [{metric: acc}]\n"
    )
    options = ["--include_path", str(tmp_path), "--tasks", "science_choices", "--force_simple"]
    results, samples = evaluate(harness("lmms-eval"), folder, run, "scored", *options)
    right = []
    for at, (question, truth, _) in enumerate(SCIENCE):
        turns = (Turn("user", (Media("image", image(at)), Text(question))),)
        found = [one.total for one in session.log_likelihoods([turns] * len(OPTIONS), OPTIONS, end=False)]
        reported = [-float(loss) for loss, _ in samples["science_choices"][at]["filtered_resps"]]
        assert reported == pytest.approx(found, rel=1e-4)
        right.append("AB"[int(np.argmax(found))] == truth)
    assert results["science_choices"]["acc,none"] == pytest.approx(sum(right) / len(right))
