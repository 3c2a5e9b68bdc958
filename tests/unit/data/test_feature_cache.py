"""Entries by content: found again, never mixed up, bounded, and computed again when they are damaged."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.feature_cache import CacheableItem, FeatureCache
from modrwkv_core.interfaces.grids import GridLength, grids_of
from modrwkv_core.interfaces.record import Media, Record, Target, Text, Turn
from modrwkv_core.interfaces.signals import TimeSeries


def cache(folder: Path, max_bytes: int = 2**20, key: str = "eye") -> FeatureCache:
    return FeatureCache(folder / "cache", max_bytes, key)


def item(digest: str, length: int = 5) -> CacheableItem:
    return CacheableItem({}, length, digest)


def keep(made: FeatureCache, media: Any, features: torch.Tensor | None = None) -> str:
    digest = made.digest(media)
    assert digest is not None
    made.write(item(digest), torch.ones(3, 2) if features is None else features)
    return digest


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_come_back_as_they_were(tmp_path: Path, dtype: torch.dtype) -> None:
    features = torch.randn(6, 4).to(dtype)[::2]
    made = cache(tmp_path)
    digest = keep(made, b"medium", features)
    copy = pickle.loads(pickle.dumps(made))
    assert copy.digest(b"medium") == digest
    read = copy.read(digest)
    assert read is not None
    assert read.features is not None
    assert (read.length, read.features.dtype) == (5, dtype)
    assert torch.equal(read.features, features)
    assert made.read("00" * 32) is None


@pytest.mark.parametrize("length", [GridLength((2, 3), (1, 1)), GridLength(), 7])
def test_lengths_come_back_with_their_grids(tmp_path: Path, length: int) -> None:
    made = cache(tmp_path)
    digest = made.digest(b"picture")
    assert digest is not None
    made.write(item(digest, length), torch.ones(length, 2))
    found = made.read(digest)
    assert found is not None
    assert (found.length, grids_of(found.length)) == (length, grids_of(length))


def test_content_names_an_entry(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"pixels")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.png").write_bytes(b"pixels")
    (tmp_path / "c.png").write_bytes(b"other pixels")
    values = np.arange(6, dtype=np.float32)
    series = TimeSeries(values[:, None])
    media: list[Any] = [
        tmp_path / "a.png",
        tmp_path / "c.png",
        b"pixels",
        b"other",
        "data:image/png;base64,AAAA",
        values,
        values.reshape(2, 3),
        values.astype(np.float64),
        series,
        TimeSeries(values[:, None], np.ones(1, np.float32)),
        [1, 2],
        [12],
        None,
    ]
    digests = [cache(tmp_path).digest(each) for each in media]
    assert None not in digests
    assert len(set(digests)) == len(media)
    assert cache(tmp_path).digest(tmp_path / "sub" / "b.png") == digests[0]
    assert cache(tmp_path).digest(str(tmp_path / "a.png")) is not None
    assert cache(tmp_path).digest(TimeSeries(values[:, None].copy())) == digests[8]
    assert cache(tmp_path, key="ear").digest(b"pixels") != digests[2]
    for unknown in (object(), [object()], tmp_path / "missing.png", tmp_path):
        assert cache(tmp_path).digest(unknown) is None


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda _: b"", lambda content: content[:-1] + b"!"])
def test_a_damaged_entry_is_none_with_a_warning(tmp_path: Path, damage: Any) -> None:
    made = cache(tmp_path)
    digest = keep(made, b"medium")
    (path,) = (tmp_path / "cache").glob("*/*")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged, and its features are computed again"):
        assert made.read(digest) is None
    keep(made, b"medium")
    assert made.read(digest) is not None


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path) -> None:
    features = torch.zeros(100, 100)
    made = cache(tmp_path, 10 * 41_000)
    digests = [keep(made, bytes([number]), features) for number in range(9)]
    paths = {digest: tmp_path / "cache" / digest[:2] / digest[2:] for digest in digests}
    for age, digest in enumerate(digests):
        os.utime(paths[digest], (1000 + age, 1000 + age))
    assert made.read(digests[0]) is not None  # used now
    for number in range(9, 14):
        keep(made, bytes([number]), features)
        used = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*/*"))
        assert used <= 10 * 41_000
    assert paths[digests[0]].exists()
    assert not paths[digests[1]].exists()
    made.write(item("ab" * 32), torch.zeros(1000, 1000))
    assert made.read("ab" * 32) is None, "larger than all the space"


def test_a_folder_that_cannot_be_written_is_warned_of_once(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    made = cache(tmp_path)
    with pytest.warns(UserWarning, match="features cannot be kept in"):
        keep(made, b"one")
    keep(made, b"two")


def record(sound: list[int], answer: Text | Target) -> Record:
    return Record("a", (Turn("user", (Media("sound", sound), Text("?"))), Turn("assistant", (answer,))))


def test_a_medium_in_the_cache_is_neither_decoded_nor_processed(
    encoder: ConversationEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cache(tmp_path)
    plain = encoder.sample(record([1, 2, 3, 4], Text("one")))
    encoder.media.caches = {"sound": made}
    (first,) = encoder.sample(record([1, 2, 3, 4], Text("one"))).media
    assert isinstance(first.item, CacheableItem)
    assert first.item.features is None
    assert torch.equal(first.item.tensors["values"], plain.media[0].item.tensors["values"])
    made.write(first.item, torch.ones(4, 1))
    with monkeypatch.context() as patch:
        patch.setattr(type(encoder.preprocessors["sound"].modality), "decode", None)
        sample = encoder.sample(record([1, 2, 3, 4], Text("one")))
    (second,) = sample.media
    assert isinstance(second.item, CacheableItem)
    assert second.item.features is not None
    assert second.item.tensors == {}
    assert (second.position, second.count) == (plain.media[0].position, plain.media[0].count)
    assert torch.equal(sample.ids, plain.ids)


def test_a_head_gets_the_signal_of_a_medium_in_the_cache(encoder: ConversationEncoder, tmp_path: Path) -> None:
    made = cache(tmp_path)
    asked = record([1, 2, 3, 4], Target("mood", "calm"))
    plain = encoder.sample(asked)
    encoder.media.caches = {"sound": made}
    (first,) = encoder.sample(asked).media
    assert isinstance(first.item, CacheableItem)
    made.write(first.item, torch.ones(4, 1))
    (query,) = encoder.sample(asked).queries["mood"]
    assert query.signal.tolist() == plain.queries["mood"][0].signal.tolist()
