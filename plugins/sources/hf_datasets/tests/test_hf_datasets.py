import io
import json
import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pytest
from modrwkv_hf_datasets import streamed
from modrwkv_hf_datasets.config import HfDatasetConfig
from modrwkv_hf_datasets.source import HfDatasetSource
from PIL import Image
from pyarrow import parquet
from pydantic import ValidationError

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Record, Text
from modrwkv_core.modalities.features import FeaturesModality
from modrwkv_core.modalities.image import ImageModality


def opened(folder: Path, **settings: Any) -> HfDatasetSource:
    return HfDatasetSource(HfDatasetConfig.model_validate(settings, context={"data_root": folder}))


def records(source: HfDatasetSource) -> list[Record]:
    return [source[index] for index in range(len(source))]


def texts(source: HfDatasetSource) -> list[list[str]]:
    return [
        [part.text for turn in record.turns for part in turn.parts if isinstance(part, Text)]
        for record in records(source)
    ]


def png(color: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (3, 2), color).save(file, "PNG")
    return file.getvalue()


def captions(count: int, first: int = 0) -> pyarrow.Table:
    numbers = range(first, first + count)
    return pyarrow.table({"asked": [f"{number}?" for number in numbers], "said": [f"{number}" for number in numbers]})


def test_a_saved_dataset_with_pictures(tmp_path: Path) -> None:
    rows = {"photo": [{"bytes": png("red"), "path": None}, {"bytes": png("blue"), "path": None}], "said": ["r", "b"]}
    features = datasets.Features({"photo": datasets.Image(), "said": datasets.Value("string")})
    dataset = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"train": dataset, "test": dataset.select([1])}).save_to_disk(str(tmp_path / "saved"))
    source = opened(tmp_path, path="saved", answer="said", prompt="Which?")
    question = source[0].turns[0].parts
    assert question == (Media("image", png("red")), Text("Which?"))
    assert ImageModality().decode(question[0].media).pixels[0, 0].tolist() == [255, 0, 0]
    assert source[1].key == f"{tmp_path}/saved[train]: row 1"
    assert texts(opened(tmp_path, path="saved", split="test", answer="said")) == [["b"]]
    with pytest.raises(DataError, match=r"saved has no split 'valid'\n.*train, test"):
        opened(tmp_path, path="saved", split="valid", answer="said")
    dataset.save_to_disk(str(tmp_path / "single"))
    with pytest.raises(DataError, match=r"Arrow files\n.*remove `streaming`"):
        opened(tmp_path, path="single", answer="said", streaming=True)


def test_files_of_several_formats(tmp_path: Path) -> None:
    rows = [{"asked": "1?", "said": "1"}, {"asked": "2?", "said": "2"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "a.csv").write_text("asked,said\n1?,x\n2?,y\n")
    assert texts(opened(tmp_path, path="a.jsonl", question="asked", answer="said")) == [["1?", "1"], ["2?", "2"]]
    assert texts(opened(tmp_path, path="a.csv", question="asked", answer="said")) == [["1?", "x"], ["2?", "y"]]
    assert texts(opened(tmp_path, path="a.csv", split="train[1:]", question="asked", answer="said")) == [["2?", "y"]]


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "pictures" / "train"
    folder.mkdir(parents=True)
    for color in ("blue", "red"):
        (folder / f"{color}.png").write_bytes(png(color))
    lines = [json.dumps({"file_name": f"{color}.png", "said": color}) for color in ("red", "blue")]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    source = opened(tmp_path, path="pictures", answer="said")
    for record in records(source):
        medium, answer = record.turns[0].parts[0], record.turns[1].parts[0]
        assert isinstance(answer, Text)
        assert isinstance(medium, Media)
        assert medium.media == folder / f"{answer.text}.png"
        ImageModality().decode(medium.media)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two files with 7 and 4 rows, in groups of 3."""
    parquet.write_table(captions(7), tmp_path / "part-0.parquet", row_group_size=3)
    parquet.write_table(captions(4, 7), tmp_path / "part-1.parquet", row_group_size=3)
    return tmp_path


EXPECTED = [[f"{number}?", f"{number}"] for number in range(11)]
COLUMNS = {"question": "asked", "answer": "said"}


def test_streamed_rows_are_those_of_the_files(shards: Path) -> None:
    loaded = opened(shards, path="part-*.parquet", **COLUMNS)
    from_folder = opened(shards, path=".", streaming=True, **COLUMNS)
    from_url = opened(shards, url=f"file://{shards}/part-*.parquet", streaming=True, **COLUMNS)
    for source in (loaded, from_folder, from_url, pickle.loads(pickle.dumps(from_url))):
        assert texts(source) == EXPECTED
    assert from_url[10].key.endswith("part-1.parquet: row 3")
    assert from_url[6].key.endswith("part-0.parquet: row 6")


def test_each_group_is_fetched_once(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[tuple[str, int]] = []
    fetch = streamed._fetch

    def counted(url: str, group: int) -> pyarrow.Table:
        fetched.append((url.rpartition("/")[2], group))
        return fetch(url, group)

    monkeypatch.setattr(streamed, "_fetch", counted)
    source = opened(shards, path="part-*.parquet", streaming=True, **COLUMNS)
    assert not fetched
    order = np.random.default_rng(0).permutation(11)
    for index in order:
        assert source[int(index)].turns[1].parts == (Text(f"{index}"),)
    groups = [("part-0.parquet", 0), ("part-0.parquet", 1), ("part-0.parquet", 2)]
    assert sorted(fetched) == [*groups, ("part-1.parquet", 0), ("part-1.parquet", 1)]
    texts(opened(shards, path="part-*.parquet", streaming=True, **COLUMNS))
    assert len(fetched) == 5


def test_the_least_recently_used_groups_make_room(shards: Path, cache: Path) -> None:
    source = opened(shards, path="part-*.parquet", streaming=True, cache_gib=1e-9, **COLUMNS)
    assert texts(source) == EXPECTED
    assert len(list(cache.glob("modrwkv_row_groups/*/*"))) == 1


def test_a_damaged_or_removed_cache_is_filled_again(shards: Path, cache: Path) -> None:
    source = opened(shards, path="part-*.parquet", streaming=True, **COLUMNS)
    assert texts(source) == EXPECTED
    first, second, *_ = sorted(cache.glob("modrwkv_row_groups/*/*.arrow"))
    first.write_bytes(first.read_bytes()[:40])
    second.unlink()
    assert texts(source) == EXPECTED


def test_a_changed_file_is_read_anew(shards: Path) -> None:
    texts(opened(shards, path="part-0.parquet", streaming=True, **COLUMNS))
    parquet.write_table(captions(7, 100), shards / "part-0.parquet", row_group_size=3)
    assert texts(opened(shards, path="part-0.parquet", streaming=True, **COLUMNS))[0] == ["100?", "100"]


def test_conversations_with_several_images(tmp_path: Path) -> None:
    parts = [{"type": "image", "text": None}, {"type": "text", "text": "or"}, {"type": "image", "text": None}]
    said = [{"type": "text", "text": "The second."}]
    table = pyarrow.table(
        {
            "images": [[{"bytes": b"1"}, {"bytes": b"2"}], [{"bytes": b"1"}]],
            "messages": [[{"role": "user", "content": parts}, {"role": "assistant", "content": said}]] * 2,
            "talk": [[{"from": "human", "value": "<image> or <image>"}, {"from": "gpt", "value": "First."}]] * 2,
        }
    )
    parquet.write_table(table, tmp_path / "talks.parquet")
    for column in ("messages", "talk"):
        source = opened(tmp_path, path="talks.parquet", conversation=column, modalities={"images": "image"})
        first, _, second = source[0].turns[0].parts
        assert (first, second) == (Media("image", b"1"), Media("image", b"2"))
    with pytest.raises(DataError, match=r"talks\.parquet\[train\]: row 1: <image> stands 2 times .* 1 were given"):
        source[1]
    source = opened(tmp_path, path="talks.parquet", conversation="messages", modalities={"images": "image"})
    with pytest.raises(DataError, match=r"row 1: a part of type 'image' has nothing to read"):
        source[1]


def test_arrays_paths_and_absent_media(tmp_path: Path) -> None:
    frames = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    table = pyarrow.table(
        {"mfcc": [frames, None], "photo": ["a.png", "b/c.png"], "said": ["x", "y"], "series": [[1, 2, 3], None]}
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    source = opened(
        tmp_path, path="a.parquet", answer="said", modalities={"mfcc": "features", "photo": "image", "series": "series"}
    )
    features, photo, series = source[0].turns[0].parts
    assert isinstance(features, Media)
    np.testing.assert_array_equal(FeaturesModality().decode(features.media).values, frames)
    assert photo == Media("image", tmp_path / "a.png")
    assert isinstance(series, Media)
    assert series.media.tolist() == [1, 2, 3]
    assert source[1].turns[0].parts == (Media("image", tmp_path / "b/c.png"),)
    assert opened(tmp_path, path="a.parquet", answer="said", modalities={"photo": "image"}, media="far")[0].turns[
        0
    ].parts == (Media("image", tmp_path / "far/a.png"),)


def test_bad_rows_are_named(tmp_path: Path) -> None:
    table = pyarrow.table({"n": [1, 2], "said": ["x", None], "uneven": [[[1.0], [2.0, 3.0]], None]})
    parquet.write_table(table, tmp_path / "a.parquet")
    for settings, message in (
        ({"answer": "n", "prompt": "?"}, r"a\.parquet: row 1: column 'n' holds 2, not a text"),
        ({"answer": "said", "prompt": "?"}, r"a\.parquet: row 1: column 'said' holds None, not a text"),
        ({"answer": "said"}, r"row 1: has neither media nor a question"),
        ({"answer": "said", "modalities": {"n": "image"}}, r"row 1: column 'n' holds 2, not a medium"),
        ({"conversation": "said"}, r"row 1: has no list 'messages'"),
    ):
        with pytest.raises(DataError, match=message):
            opened(tmp_path, path="a.parquet", streaming=True, **settings)[1]
    with pytest.raises(DataError, match=r"row 0: column 'uneven' holds lists of unequal lengths"):
        opened(tmp_path, path="a.parquet", answer="said", modalities={"uneven": "features"})[0]


@pytest.mark.parametrize("streaming", [False, True])
def test_bad_datasets_are_refused_at_once(shards: Path, streaming: bool) -> None:
    (shards / "cut.parquet").write_bytes((shards / "part-0.parquet").read_bytes()[:-30])
    parquet.write_table(pyarrow.table({"other": [1]}), shards / "part-2.parquet")
    for settings, message in (
        ({"path": "absent"}, r"absent does not exist"),
        ({"path": "absent-*.parquet"}, r"cannot load .*absent-\*\.parquet"),
        ({"path": "cut.parquet"}, r"cannot (load|read) .*cut\.parquet"),
        ({"path": "part-*.parquet"}, r"part-"),
        ({"path": "part-2.parquet"}, r"part-2\.parquet has no column asked, said\n.*it has: other"),
        ({"path": ".", "split": "test"}, "test"),
        ({"url": "nowhere://a.parquet"}, "nowhere"),
        ({"url": f"file://{shards}/a.txt"}, "unknown ending"),
    ):
        with pytest.raises(DataError, match=message):
            opened(shards, streaming=streaming, **settings, **COLUMNS)


def test_only_parquet_is_streamed(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"asked": "?", "said": "!"}')
    with pytest.raises(DataError, match="holds no Parquet files"):
        opened(tmp_path, path="a.jsonl", streaming=True, **COLUMNS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"answer": "said"}, "give one of path, hub and url"),
        ({"path": "a", "hub": "b/c", "answer": "said"}, "give one of path, hub and url"),
        ({"path": "a"}, "give one of conversation and answer"),
        ({"path": "a", "conversation": "talk", "answer": "said"}, "give one of conversation and answer"),
        ({"path": "a", "conversation": "talk", "prompt": "?"}, "remove question and prompt"),
        ({"path": "a", "answer": "said", "question": "asked", "prompt": "?"}, "give one of question and prompt"),
        ({"path": "a", "answer": "said", "split": "train[:5]", "streaming": True}, "whole splits only"),
        ({"hub": "no owner", "answer": "said"}, "hub"),
        ({"url": "/a.parquet", "answer": "said"}, "url"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HfDatasetConfig.model_validate(settings)
