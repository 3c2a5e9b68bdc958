"""Questions about streams of photographs, answered again by reading the stream."""

from __future__ import annotations

import io
import os
import re
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_datasets.config import PhotoStreamConfig
from modrwkv_datasets.photo_stream import MARK, PhotoStreamSource, ask
from pydantic import ValidationError

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Text

CLASSES = ["bird", "cat", "dog", "ship", "truck"]


def answer(question: str, shown: list[str]) -> tuple[str, int]:
    """Answer a question about a stream by its words, and say how far back one has to look."""
    last = len(shown) - 1
    if match := re.fullmatch(r"What comes right (after|before) the (\w+)\?", question):
        pairs = list(pairwise(shown))
        at = 0 if match[1] == "after" else 1
        [place] = [index for index, pair in enumerate(pairs) if pair[at] == match[2]]
        return pairs[place][1 - at], last - place
    if match := re.fullmatch(r"Which comes first, the (\w+) or the (\w+)\?", question):
        first = next(kind for kind in shown if kind in match.groups())
        assert set(match.groups()) <= set(shown)
        return first, last - shown.index(first)
    if match := re.fullmatch(r"How many photographs of the class (\w+) are there\?", question):
        places = [index for index, kind in enumerate(shown) if kind == match[1]]
        return str(len(places)), last - min(places, default=0)
    match = re.fullmatch(r"Is there a photograph of the class (\w+)\?", question)
    assert match is not None, question
    places = [index for index, kind in enumerate(shown) if kind == match[1]]
    return ("yes" if places else "no"), last - min(places, default=0)


@given(
    shown=st.lists(st.sampled_from(CLASSES), min_size=2, max_size=12),
    kind=st.sampled_from(["after", "before", "first", "count", "seen"]),
    seed=st.integers(0, 2**32),
)
def test_answers_are_what_the_stream_shows(shown: list[str], kind: Any, seed: int) -> None:
    asked = ask(kind, shown, CLASSES, np.random.default_rng(seed))
    if asked is None:
        once = [each for each in shown if shown.count(each) == 1]
        assert (kind == "first" and len(set(shown)) == 1) or (
            kind in ("after", "before") and len(once) <= 1 and not set(once) & set(shown[1:-1])
        )
        return
    assert (asked.answer, asked.distance) == answer(asked.question, shown)


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    folder = tmp_path / "cifar10_photos"
    folder.mkdir()
    for part in ("train", "test"):
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for kind in CLASSES:
                archive.writestr(f"{kind}/", "")
                for number in range(10):
                    archive.writestr(f"{kind}/{number}.jpg", f"{part} {kind} {number}")
    return tmp_path


def source(data_root: Path, **config: Any) -> PhotoStreamSource:
    return PhotoStreamSource(PhotoStreamConfig.model_validate(config, context={"data_root": data_root}))


def test_streams_show_photographs_of_their_part(data_root: Path) -> None:
    numbers: dict[str, set[str]] = {}
    for part in ("train", "valid", "test"):
        streams = source(data_root, part=part, holdout=0.2, count=40, photos=9, min_photos=2, turns=2)
        lengths = set()
        for index in range(len(streams)):
            record = streams[index]
            shown = [str(part.media, "ascii").split() for part in record.turns[0].parts if isinstance(part, Media)]
            lengths.add(len(shown))
            assert {where for where, _, _ in shown} == {"test" if part == "test" else "train"}
            numbers.setdefault(part, set()).update(number for _, _, number in shown)
            for question, said in zip(record.turns[::2], record.turns[1::2], strict=True):
                text, right = question.parts[-1], said.parts[0]
                assert isinstance(text, Text)
                assert isinstance(right, Text)
                assert answer(text.text, [kind for _, kind, _ in shown])[0] == right.text
        assert lengths <= set(range(2, 10))
        assert {2, 9} <= lengths
    assert numbers["valid"] == {"8", "9"}
    assert numbers["train"].isdisjoint(numbers["valid"])
    assert len(numbers["test"]) == 10


def test_the_marked_photograph_is_asked_for_wherever_it_lies(data_root: Path) -> None:
    streams = source(data_root, count=300, photos=60, questions=["marked"])
    distances = []
    for record in (streams[index] for index in range(len(streams))):
        *stream, question = record.turns[0].parts
        [mark] = [place for place, part in enumerate(stream) if isinstance(part, Text)]
        assert stream.pop(mark) == Text(MARK)
        assert question == Text("What does the marked photograph show?")
        marked = stream[mark]
        assert isinstance(marked, Media)
        assert record.turns[1].parts == (Text(str(marked.media, "ascii").split()[1]),)
        assert record.annotations == {"distance": len(stream) - 1 - mark}
        distances.append(len(stream) - 1 - mark)
    # On a logarithmic scale each of these holds a third.
    counts = np.histogram(distances, [0, 60 ** (1 / 3) - 1, 60 ** (2 / 3) - 1, 60])[0]
    assert min(counts) > 60
    assert max(distances) > 40


def test_long_streams_of_few_classes_leave_something_unseen(data_root: Path) -> None:
    streams = source(data_root, count=60, photos=50, shown_classes=3, questions=["seen"])
    answers = []
    all_shown = set()
    for record in (streams[index] for index in range(len(streams))):
        shown = {str(part.media, "ascii").split()[1] for part in record.turns[0].parts if isinstance(part, Media)}
        assert len(shown) == 3
        all_shown |= shown
        answers += [part.text for part in record.turns[1].parts if isinstance(part, Text)]
    assert all_shown == set(CLASSES)
    assert 15 < answers.count("no") < 45
    with pytest.raises(DataError, match="5 classes, `shown_classes` asks for 6"):
        source(data_root, shown_classes=6)


def test_what_cannot_be_asked_is_replaced_by_a_count(data_root: Path) -> None:
    streams = source(data_root, count=40, photos=2, questions=["first"])
    questions = {record.turns[0].parts[-1] for record in (streams[index] for index in range(40))}
    assert {str(question).split("'")[1].split()[0] for question in questions} == {"Which", "How"}


def test_other_archives_are_refused(data_root: Path) -> None:
    with zipfile.ZipFile(data_root / "cifar10_photos" / "train.zip", "w") as archive:
        archive.writestr("cat/1.jpg", "one class")
    with pytest.raises(DataError, match="two classes or more"):
        source(data_root)
    with pytest.raises(DataError, match="two classes or more"):
        source(data_root, part="valid", holdout=0)
    with pytest.raises(ValidationError, match="9 is above 4"):
        source(data_root, photos=4, min_photos=9)
    with pytest.raises(IndexError):
        source(data_root, part="test", count=1)[1]


def test_published_photographs() -> None:
    root = os.environ.get("MODRWKV_DATA")
    if root is None or not (Path(root) / "cifar10_photos").is_dir():
        pytest.skip("MODRWKV_DATA is not set, or holds no cifar10_photos: the published files are not here")
    streams = source(Path(root), part="test", count=2)
    for part in streams[0].turns[0].parts[:-1]:
        assert isinstance(part, Media)
        with PIL.Image.open(io.BytesIO(part.media)) as picture:
            assert picture.size == (32, 32)
