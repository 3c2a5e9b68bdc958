"""Media that are shown again are processed once, and known by their content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.data.recent_media import RecentMedia, item_digest
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.grids import GridLength
from modrwkv_core.interfaces.values import MediaItem


class Maker:
    """Makes items of as many float32 as asked for, and counts."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, numbers: int = 4) -> MediaItem:
        self.made += 1
        return MediaItem({"values": torch.full((numbers,), float(self.made))}, numbers)


def test_a_file_is_processed_again_only_when_its_content_changes(tmp_path: Path) -> None:
    recent, make = RecentMedia(1000), Maker()
    path = tmp_path / "a.txt"
    path.write_text("one")
    first = recent.item("sound", path, make)
    assert recent.item("sound", str(path), make).tensors["values"] is not None
    assert recent.item("sound", path, make) is first
    path.write_text("two")
    assert recent.item("sound", path, make) is not first
    (tmp_path / "b.txt").write_text("one")
    assert recent.item("sound", tmp_path / "b.txt", make) is first  # the same content under another name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"ab", b"ac"),
        (np.zeros(3, dtype=np.float32), np.zeros(3, dtype=np.float64)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        ([1, 2], [1, 2, 3]),
    ],
)
def test_other_content_is_another_medium(one: Any, other: Any) -> None:
    recent, make = RecentMedia(1000), Maker()
    items = [recent.item("series", media, make) for media in (one, other, one, other)]
    assert items[0] is items[2] is not items[1]
    assert items[1] is items[3]
    assert make.made == 2


def test_modalities_do_not_share_items() -> None:
    recent, make = RecentMedia(1000), Maker()
    assert recent.item("image", b"same", make) is not recent.item("audio", b"same", make)


def test_what_cannot_be_told_is_made_each_time() -> None:
    recent, make = RecentMedia(1000), Maker()
    for _ in range(3):
        recent.item("graph", object(), make)
    assert (make.made, recent.nbytes) == (3, 0)


def test_an_error_is_raised_each_time() -> None:
    recent, make = RecentMedia(1000), Maker()

    def fail() -> MediaItem:
        raise DataError("no sound")

    for _ in range(2):
        with pytest.raises(DataError, match="no sound"):
            recent.item("sound", b"broken", fail)
    assert recent.item("sound", b"broken", make).length == 4


@given(st.integers(0, 200), st.lists(st.tuples(st.integers(0, 6), st.integers(0, 20)), max_size=30))
def test_memory_is_bounded_and_what_was_used_last_is_kept(limit: int, asked: list[tuple[int, int]]) -> None:
    recent = RecentMedia(limit)
    expected: dict[int, int] = {}  # a model of it: bytes by name, the one that was used last at the end
    for name, numbers in asked:
        made: list[int] = []

        def make(name: int = name, numbers: int = numbers, made: list[int] = made) -> MediaItem:
            made.append(name)
            return MediaItem({"values": torch.zeros(numbers)}, 1)

        recent.item("series", [name], make)
        assert bool(made) == (name not in expected)
        size = expected.pop(name, 4 * numbers)
        if limit and size <= limit:
            expected[name] = size
            while sum(expected.values()) > limit:
                del expected[next(iter(expected))]
        assert recent.nbytes == sum(expected.values())


@pytest.mark.parametrize(
    "other",
    [
        MediaItem({"pixels": torch.ones(2, 3)}, 6),
        MediaItem({"pixels": torch.zeros(3, 2)}, 6),
        MediaItem({"pixels": torch.zeros(2, 3, dtype=torch.int32)}, 6),
        MediaItem({"points": torch.zeros(2, 3)}, 6),
        MediaItem({"pixels": torch.zeros(2, 3), "mask": torch.zeros(0)}, 6),
        MediaItem({"pixels": torch.zeros(2, 3)}, 7),
        MediaItem({"pixels": torch.zeros(2, 3)}, GridLength((2, 3))),
    ],
)
def test_a_digest_says_all_that_an_encoder_sees(other: MediaItem) -> None:
    item = MediaItem({"pixels": torch.zeros(2, 3)}, 6)
    assert item_digest(item) != item_digest(other)
    assert item_digest(item) == item_digest(RecentMedia(1000).item("image", b"", lambda: item))
    assert item_digest(item) == item_digest(MediaItem({"pixels": torch.zeros(3, 2).T}, 6))
