"""Signals that become several parts of the token stream, and prompts that are made segment by segment."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.feature_cache import CacheableItem, FeatureCache
from modrwkv_core.data.packing import pack
from modrwkv_core.errors import ComponentError, DataError
from modrwkv_core.interfaces.component import Processor
from modrwkv_core.interfaces.record import Media, Record, Text, Turn
from modrwkv_core.interfaces.values import MediaItem

START, END, OPEN, CLOSE, PAD = 23, 24, 257, 258, 259


class Divider(Processor[Any, Any]):
    """Makes an item of each three numbers of a film, after a text; the last of them is a sound, too."""

    made = 0

    def __call__(self, signal: Any) -> MediaItem:
        return MediaItem({"values": torch.from_numpy(signal)}, len(signal))

    def parts(self, signal: Any) -> Iterator[MediaItem | Text | Media]:
        for begin in range(0, len(signal), 3):
            type(self).made += 1
            yield Text(f"<{begin}>")
            yield self(signal[begin : begin + 3])
        yield Media("sound", signal[-2:])


@pytest.fixture
def film_encoder(encoder: ConversationEncoder) -> ConversationEncoder:
    image = encoder.preprocessors["image"]
    encoder.preprocessors["film"] = replace(image, name="film", processor=Divider(image.encoder))
    Divider.made = 0
    return encoder


def ids(text: str) -> list[int]:
    return [byte + 1 for byte in text.encode()]


def question(*parts: Media | str) -> tuple[Turn]:
    return (Turn("user", tuple(Text(part) if isinstance(part, str) else part for part in parts)),)


FILM = Media("film", [1, 2, 3, 4, 5])


def test_a_divided_medium_by_hand(film_encoder: ConversationEncoder) -> None:
    record = Record("file:1", (*question(FILM, "?"), Turn("assistant", (Text("yes"),))))
    sample = film_encoder.sample(record)
    film = [*ids("<0>"), OPEN, PAD, PAD, PAD, CLOSE, *ids("<3>"), OPEN, PAD, PAD, CLOSE, OPEN, PAD, CLOSE]
    asked = [START, *ids("User:"), *film, *ids("?"), END]
    answered = [START, *ids("Assistant:yes"), END]
    assert sample.ids.tolist() == [*asked, *answered]
    assert film_encoder.num_tokens(record) == len(sample.ids)
    assert [index for index in sample.targets.tolist() if index != -100] == [*ids("yes"), END]
    assert [(item.modality, item.count) for item in sample.media] == [("film", 3), ("film", 2), ("sound", 1)]
    assert [item.item.tensors["values"].tolist() for item in sample.media] == [[1, 2, 3], [4, 5], [4, 5]]
    for placed in sample.media:
        assert sample.ids[placed.position - 1] == OPEN
        assert sample.ids[placed.position : placed.position + placed.count].tolist() == [PAD] * placed.count


media = st.builds(Media, st.sampled_from(["film", "image", "sound"]), st.lists(st.integers(0, 9), min_size=2))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(media | st.text(max_size=9), min_size=1, max_size=9), st.integers(1, 40))
def test_segments_are_the_prompt(film_encoder: ConversationEncoder, parts: list[Any], max_tokens: int) -> None:
    turns = question("begin", *parts)
    whole = film_encoder.prompt(turns)
    segments = list(film_encoder.prompt_segments(turns, max_tokens))
    assert torch.equal(torch.cat([segment.ids for segment in segments]), whole.ids)
    assert all(len(segment.ids) >= max_tokens for segment in segments[:-1])
    assert [segment.is_last for segment in segments] == [False] * (len(segments) - 1) + [True]
    begin = 0
    placed = []
    for segment in segments:
        placed += [item.shifted(begin) for item in segment.media]
        begin += len(segment.ids)
    assert [(item.modality, item.position, item.count) for item in placed] == [
        (item.modality, item.position, item.count) for item in whole.media
    ]
    for found, expected in zip(placed, whole.media, strict=True):
        assert torch.equal(found.item.tensors["values"], expected.item.tensors["values"])


def test_parts_are_made_when_their_segment_is_asked_for(film_encoder: ConversationEncoder) -> None:
    segments = film_encoder.prompt_segments(question(Media("film", list(range(300)))), 50)
    assert Divider.made == 0
    for count in range(1, 4):
        next(segments)
        assert Divider.made <= 6 * count, "eight tokens each, and more"


def test_segments_end_when_their_media_are_large(
    film_encoder: ConversationEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modrwkv_core.data.conversation._SEGMENT_BYTES", 24)
    segments = list(film_encoder.prompt_segments(question(Media("film", list(range(18)))), 4096))
    assert [len(segment.media) for segment in segments] == [2, 2, 2, 1], "of 3 numbers in float32"
    assert pack(segments[:1]).media == segments[0].media


def test_a_film_that_is_too_long_is_refused_before_it_is_read(
    film_encoder: ConversationEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modrwkv_core.data.conversation._SEGMENT_BYTES", 100)
    film_encoder.max_tokens = 60
    record = Record("file:1", (*question(Media("film", list(range(3000)))), Turn("assistant", (Text("yes"),))))
    with pytest.raises(
        DataError, match=r"file:1: the conversation has \d\d tokens and goes on, more than the 60 allowed"
    ):
        film_encoder.sample(record)
    assert Divider.made < 12


def test_media_of_other_modalities_must_be_the_models(film_encoder: ConversationEncoder) -> None:
    del film_encoder.preprocessors["sound"]
    with pytest.raises(DataError, match="prompt: holds sound, but the model has these modalities: image, film"):
        list(film_encoder.prompt_segments(question(FILM), 10))


@pytest.mark.parametrize("wrong", [None, "text", MediaItem({}, 2.0)])  # type: ignore[arg-type]
def test_other_parts_are_refused(
    film_encoder: ConversationEncoder, monkeypatch: pytest.MonkeyPatch, wrong: Any
) -> None:
    monkeypatch.setattr(Divider, "parts", lambda self, signal: iter([wrong]))
    with pytest.raises((ComponentError, DataError), match=rf"the processor returned {type(wrong).__name__}, not a"):
        film_encoder.prompt(question(FILM))


def test_errors_of_a_part_name_the_medium(film_encoder: ConversationEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Divider, signal: Any) -> Iterator[MediaItem]:
        yield self(signal)
        raise DataError("the frame at 7.00 s cannot be decoded")

    monkeypatch.setattr(Divider, "parts", fails)
    with pytest.raises(DataError, match=r"prompt: film: the frame at 7\.00 s cannot be decoded"):
        film_encoder.prompt(question(FILM))


def test_each_part_has_an_entry_in_the_cache(film_encoder: ConversationEncoder, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 2**20, "eye")
    film_encoder.media.caches["film"] = cache
    film = Media("film", b"12345")
    film_encoder.preprocessors["film"].modality.decode = lambda media: torch.arange(5.0).numpy()  # type: ignore[method-assign]
    record = Record("file:1", (*question(film), Turn("assistant", (Text("yes"),))))
    first = [placed.item for placed in film_encoder.sample(record).media if placed.modality == "film"]
    assert all(isinstance(item, CacheableItem) and item.features is None for item in first)
    assert len({item.digest for item in first if isinstance(item, CacheableItem)}) == 2
    for item in first:
        assert isinstance(item, CacheableItem)
        cache.write(item, torch.full((item.length, 4), float(item.length)))
    again = [placed.item for placed in film_encoder.sample(record).media if placed.modality == "film"]
    for item in again:
        assert isinstance(item, CacheableItem)
        assert item.features is not None
        assert torch.equal(item.features, torch.full((item.length, 4), float(item.length)))
