from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.answer_metrics import ExactMatch
from modrwkv_core.evaluation.cards import evaluation_cards
from modrwkv_core.evaluation.config import ExactMatchMetricConfig, MeanSquaredErrorConfig
from modrwkv_core.evaluation.metrics import MeanSquaredError
from modrwkv_core.evaluation.report import write_report
from modrwkv_core.interfaces.record import Media, Record, Target, Text, Turn
from modrwkv_core.interfaces.result import Example, Result, Score
from modrwkv_core.interfaces.signals import Image, TimeSeries, Waveform

MATCH, MSE = ExactMatch(ExactMatchMetricConfig()), MeanSquaredError(MeanSquaredErrorConfig())
VOID = {"meta", "img", "br"}
PICTURE = Image(np.zeros((4, 4, 3), np.uint8))
METRICS: list[dict[str, float | str]] = [
    {"step": 1, "phase": "align", "loss/lm": 2.0},
    {"step": 2, "phase": "align", "loss/lm": 1.0},
]


class Page(HTMLParser):
    """A page as a browser sees it: every element closed, its words, its images."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.placeholders: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, placeholder: str, attrs: list[tuple[str, str | None]]) -> None:
        self.placeholders.append(placeholder)
        self.attributes += attrs
        if placeholder == "img":
            self.images.append(dict(attrs))
        if placeholder == "tr":
            self.rows.append([])
        if placeholder in ("td", "th"):
            self.rows[-1].append("")
        if placeholder not in VOID:
            self._open.append(placeholder)

    def handle_endtag(self, placeholder: str) -> None:
        assert self._open.pop() == placeholder

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data.strip())
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] = " ".join([*self.rows[-1][-1].split(), *data.split()])


class Hostile(ExactMatch):
    def __init__(self, config: ExactMatchMetricConfig, text: str) -> None:
        super().__init__(config)
        self.text = text

    @property
    def name(self) -> str:
        return self.text

    def format(self, score: float) -> str:
        return self.text


def asked(prompt: Sequence[Turn], truth: str, said: str) -> Example:
    record = Record("asked.jsonl:1", (*prompt, Turn("assistant", (Text(truth),))))
    return Example(record, said, truth, said == truth)


def user(*parts: Any) -> Turn:
    return Turn("user", parts)


def report(path: Path, results: Sequence[Result] = (), title: str = "demo", **options: Any) -> Page:
    arguments = {"summary": {}, "metrics": []} | options
    decode = arguments.pop("decode", lambda media: media.media)
    evaluations = [evaluation_cards(result, decode) for result in results]
    write_report(path / "report.html", title, evaluations=evaluations, **arguments)
    return Page(path / "report.html")


def accuracy(*examples: Example) -> Result:
    baselines = {"majority answer": 0.373, "question only": 0.67}
    groups = {"other questions": (Score(MATCH, 0.85, {}),)}
    return Result("vqa", 9673, (Score(MATCH, 0.912, baselines),), groups, examples)


def test_scores_stand_above_the_baselines(tmp_path: Path) -> None:
    ett = Result("ett", 2785, (Score(MSE, 0.39, {"repeat last": 1.294}), Score(MATCH, 0.2, {"repeat last": 0.3})))
    bare = Result("bare", 3, (Score(MSE, 0.2, {}),))
    page = report(tmp_path, [accuracy(), ett, bare])
    assert page.rows[1:] == [
        ["vqa exact_match, higher is better 9,673 samples", "model", "91.2 %", "", "+24.2 points"],
        ["majority answer", "37.3 %", ""],
        ["question only", "67.0 %", ""],
        ["ett mse, lower is better 2,785 samples", "model", "0.39", "", "+0.904"],
        ["repeat last", "1.294", ""],
        ["ett exact_match, higher is better", "model", "20.0 %", "", "-10.0 points"],
        ["repeat last", "30.0 %", ""],
        ["bare mse, lower is better 3 samples", "model", "0.2", "", ""],
        ["other questions exact_match, higher is better", "model", "85.0 %", "", ""],
    ]
    bars = [value for name, value in page.attributes if name == "style"]
    widths = ("91.2", "37.3", "67.0", "30.1", "100.0", "20.0", "30.0", "100.0", "85.0")
    assert bars == [f"width: {width}%" for width in widths]


def test_a_diverged_score_has_no_bar(tmp_path: Path) -> None:
    page = report(tmp_path, [Result("ett", 2, (Score(MSE, float("nan"), {"repeat last": 0.0}),))])
    assert [value for name, value in page.attributes if name == "style"] == ["width: 0.0%"] * 2


def test_losses_and_summary_are_on_the_page(tmp_path: Path) -> None:
    page = report(tmp_path, summary={"Backbone": "rwkv7, 4 layers"}, metrics=METRICS)
    assert {"Backbone", "rwkv7, 4 layers", "Training"} <= set(page.words)
    assert [image["alt"] for image in page.images] == ["loss curves of the heads lm in the phases align"]
    assert "Training" not in report(tmp_path).words


def test_questions_stand_with_their_media_and_answers(tmp_path: Path) -> None:
    sound = Waveform(np.sin(np.arange(800, dtype=np.float32)), 8000)
    series = TimeSeries(np.arange(5, dtype=np.float32)[:, None])
    right = asked([user(Media("image", PICTURE), Text("What color?"))], "red", "red")
    wrong = asked([user(Media("audio", sound), Media("series", series), Text("What is it?"))], "two", "ten")
    page = report(tmp_path, [accuracy(right, wrong)])
    assert page.attributes.count(("title", "asked.jsonl:1")) == 2
    assert [image["alt"] for image in page.images] == [
        "image, 4 by 4 pixels",
        "spectrogram of 0.10 seconds of sound at 8000 Hz",
        "series of 5 points in 1 column",
    ]
    words = [word for word in page.words if word]
    assert words[words.index("What color?") :] == [
        "What color?",
        "✓ right:",
        "red",
        "What is it?",
        "✗ wrong:",
        "ten",
        "truth: two",
    ]


def test_earlier_turns_say_whose_they_are(tmp_path: Path) -> None:
    turns = [Turn("system", (Text("Be brief."),)), user(Text("red?")), Turn("assistant", (Text("no"),))]
    page = report(tmp_path, [accuracy(asked([*turns, user(Text("blue?"))], "yes", "yes"))])
    words = [word for word in page.words if word]
    assert words[words.index("system:") : words.index("✓ right:")] == [
        "system:",
        "Be brief.",
        "red?",
        "assistant:",
        "no",
        "blue?",
    ]


def test_a_forecast_is_drawn_over_the_truth(tmp_path: Path) -> None:
    decode = {b"past": TimeSeries(np.zeros((8, 2), np.float32)), b"chart": PICTURE}
    asked = user(Media("series", b"past"), Media("image", b"chart"), Text("Go on."))
    turns = (asked, Turn("assistant", (Target("demand", b"truth"),)))
    forecast, truth = np.full((3, 2), 0.9, np.float32), np.ones((3, 2), np.float32)
    example = Example(Record("waves.csv: from row 8 on", turns), forecast, truth, None)
    result = Result("ett", 1, (Score(MSE, 0.01, {"repeat last": 1.0}),), examples=(example,))
    page = report(tmp_path, [result], decode=lambda media: decode[media.media])
    assert [image["alt"] for image in page.images] == [
        "forecast of 3 points drawn over the true series, 2 of 2 columns"
    ]
    assert {"Go on.", "waves.csv: from row 8 on"} <= set(page.words)


def test_a_modality_without_a_drawing_is_named(tmp_path: Path) -> None:
    page = report(tmp_path, [accuracy(asked([user(Media("smell", object()), Text("What is it?"))], "rose", "rose"))])
    assert "[smell]" in page.words
    assert page.images == []


def test_of_thousands_of_media_the_first_are_drawn(tmp_path: Path) -> None:
    decoded: list[Media] = []

    def decode(media: Media) -> Any:
        decoded.append(media)
        return media.media

    stream = [part for _ in range(3000) for part in (Text("then"), Media("image", PICTURE))]
    example = asked([user(*stream, Text("What was it?"))], "red", "red")
    page = report(tmp_path, [accuracy(example)], decode=decode)
    assert len(page.images) == len(decoded) == 16
    assert page.words.count("[image]") == 3000 - 16
    assert "What was it?" in page.words


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}"])
def test_hostile_text_stays_text(tmp_path: Path, hostile: str) -> None:
    example = asked([user(Media(hostile, object()), Text(hostile))], hostile, hostile + "!")
    metric = Hostile(ExactMatchMetricConfig(), hostile)
    scores = (Score(metric, 0.1, {hostile: 0.2}),)
    result = Result(hostile, 1, scores, {hostile: scores}, (example,))
    metrics: list[dict[str, float | str]] = [{"step": 1, "phase": hostile, f"loss/{hostile}": 1.0}]
    page = report(tmp_path, [result], title=hostile, summary={hostile: hostile}, metrics=metrics)
    assert "script" not in page.placeholders
    assert [image["src"][:19] for image in page.images if image["src"]] == ["data:image/svg+xml;"]
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert page.words.count(hostile) >= 6


def test_the_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    page = report(tmp_path, [accuracy(asked([user(Media("image", PICTURE))], "a", "a"))], metrics=METRICS)
    assert {"script", "link", "iframe", "object"}.isdisjoint(page.placeholders)
    sources = [value for name, value in page.attributes if name in ("src", "href", "srcset")]
    assert len(sources) == 2
    assert all(source is not None and source.startswith("data:image/") for source in sources)
    style = (tmp_path / "report.html").read_text(encoding="utf-8").partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_a_report_that_fails_leaves_the_last_one(tmp_path: Path) -> None:
    report(tmp_path, title="first")

    def gone(media: Media) -> Any:
        raise DataError("x.png is missing")

    with pytest.raises(DataError, match=r"x\.png"):
        report(tmp_path, [accuracy(asked([user(Media("image", "x.png"))], "a", "a"))], decode=gone)
    assert "first" in Page(tmp_path / "report.html").words
