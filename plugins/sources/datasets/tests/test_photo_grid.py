"""Questions about squares of photographs, answered again from the pixels by reading the question."""

from __future__ import annotations

import io
import re
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modrwkv_datasets.config import PhotoGridConfig
from modrwkv_datasets.photo_grid import PhotoGridSource, ask
from pydantic import ValidationError

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Record, Text

CLASSES = ["airplane", "bird", "cat", "dog"]
SIZE = 8


def answer(question: str, shown: list[str]) -> str:
    """Answer a question about a picture of one or four photographs by its words."""
    if question == "What is in the picture?":
        [only] = shown
        return only
    square = np.array(shown).reshape(2, 2)
    if match := re.fullmatch(r"What is at the (top|bottom) (left|right)\?", question):
        return str(square[int(match[1] == "bottom"), int(match[2] == "right")])
    if match := re.fullmatch(r"What is (left of|right of|above|below) the (\w+)\?", question):
        [place] = np.argwhere(square == match[2])
        step = {"left of": (0, -1), "right of": (0, 1), "above": (-1, 0), "below": (1, 0)}[match[1]]
        row, column = place + step
        assert row >= 0
        assert column >= 0
        return str(square[row, column])
    if match := re.fullmatch(r"How many photographs show an? (\w+)\?", question):
        return str(shown.count(match[1]))
    match = re.fullmatch(r"Is there an? (\w+)\?", question)
    assert match is not None, question
    return "yes" if match[1] in shown else "no"


@given(
    shown=st.lists(st.sampled_from(CLASSES), min_size=4, max_size=4),
    kind=st.sampled_from(["corner", "beside", "count", "seen"]),
    seed=st.integers(0, 2**32),
)
def test_answers_are_what_the_square_shows(shown: list[str], kind: Any, seed: int) -> None:
    asked = ask(kind, shown, CLASSES, np.random.default_rng(seed))
    if asked is None:
        assert kind == "beside"
        assert all(shown.count(each) > 1 for each in shown)
        return
    assert answer(asked[0], shown) == asked[1]


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """Photographs whose left half says the class, and whose right half the part and the number."""
    folder = tmp_path / "cifar10_photos"
    folder.mkdir()
    for part in ("train", "test"):
        with zipfile.ZipFile(folder / f"{part}.zip", "w") as archive:
            for nth, kind in enumerate(CLASSES):
                for number in range(10):
                    pixels = np.zeros((SIZE, SIZE, 3), np.uint8)
                    pixels[:, : SIZE // 2] = 20 * nth
                    pixels[:, SIZE // 2 :] = 100 + 10 * number + (5 if part == "test" else 0)
                    file = io.BytesIO()
                    PIL.Image.fromarray(pixels).save(file, "PNG")
                    archive.writestr(f"{kind}/{number}.png", file.getvalue())
    return tmp_path


def source(data_root: Path, **config: Any) -> PhotoGridSource:
    return PhotoGridSource(PhotoGridConfig.model_validate(config, context={"data_root": data_root}))


def photographs(record: Record, grid: int) -> list[tuple[str, str]]:
    """Return the class and the name of each photograph of a record, found in its pixels."""
    [media] = [part for turn in record.turns for part in turn.parts if isinstance(part, Media)]
    pixels = media.media.pixels
    assert pixels.shape == (grid * SIZE, grid * SIZE, 3)
    found = []
    for row in range(grid):
        for column in range(grid):
            cell = pixels[row * SIZE : (row + 1) * SIZE, column * SIZE : (column + 1) * SIZE, 0]
            kind, name = sorted((int(cell[0, 0]), int(cell[0, -1])))
            found.append((CLASSES[kind // 20], f"{name}"))
    return found


def conversation(record: Record) -> list[tuple[str, str]]:
    texts = [part.text for turn in record.turns for part in turn.parts if isinstance(part, Text)]
    return list(zip(texts[::2], texts[1::2], strict=True))


@pytest.mark.parametrize("grid", [1, 2])
def test_parts_share_no_photograph_and_answers_are_right(data_root: Path, grid: int) -> None:
    seen: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    for part in ("train", "valid", "test"):
        images = source(data_root, part=part, holdout=0.2, grid=grid, turns=5, mirror=part == "train")
        assert len(images) == {"train": 32, "valid": 8, "test": 40}[part] // grid**2
        for index in range(len(images)):
            shown = photographs(images[index], grid)
            asked = conversation(images[index])
            assert 1 <= len(asked) <= 5
            assert len(dict(asked)) == len(asked)
            for question, said in asked:
                assert answer(question, [kind for kind, _ in shown]) == said
            assert not seen[part] & set(shown)
            seen[part] |= set(shown)
        assert len(seen[part]) == {"train": 32, "valid": 8, "test": 40}[part]
    assert not seen["train"] & seen["valid"]
    assert not (seen["train"] | seen["valid"]) & seen["test"]


def test_rounds_and_seeds_differ(data_root: Path) -> None:
    images = source(data_root, grid=1, holdout=0, count=80)
    order = [photographs(images[index], 1)[0] for index in range(80)]
    assert sorted(order[:40]) == sorted(order[40:])
    assert order[:40] != order[40:]
    other = source(data_root, grid=1, holdout=0, count=80, seed=1)
    assert [photographs(other[index], 1)[0] for index in range(80)] != order


def test_about_half_of_the_photographs_are_mirrored_if_wanted(data_root: Path) -> None:
    def turned(**config: Any) -> int:
        images = source(data_root, grid=1, holdout=0, **config)
        shown = [images[index].turns[0].parts[0].media.pixels for index in range(40)]
        return sum(int(pixels[0, 0, 0]) > int(pixels[0, -1, 0]) for pixels in shown)

    assert turned() == 0
    assert 10 <= turned(mirror=True) <= 30


def test_what_does_not_fit_is_refused(data_root: Path) -> None:
    with pytest.raises(ValidationError, match="of a grid of 1 are what, not seen"):
        source(data_root, grid=1, questions=["seen"])
    with pytest.raises(IndexError):
        source(data_root, count=1)[1]
    folder = data_root / "other" / "cifar10_photos"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "test.zip", "w") as archive:
        archive.writestr("cat/1.jpg", b"no image")
        archive.writestr("dog/1.jpg", b"no image")
    with pytest.raises(DataError, match="is no image"):
        source(data_root / "other", part="test")[0]
    with zipfile.ZipFile(folder / "train.zip", "w") as archive:
        for nth, kind in enumerate(CLASSES):
            file = io.BytesIO()
            PIL.Image.new("RGB", (SIZE + nth, SIZE)).save(file, "PNG")
            archive.writestr(f"{kind}/1.png", file.getvalue())
    with pytest.raises(DataError, match="different sizes"):
        source(data_root / "other", holdout=0)[0]
