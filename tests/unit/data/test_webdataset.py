import gzip
import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modrwkv_core.data.sources import tar_index
from modrwkv_core.data.sources.config import WebDatasetConfig
from modrwkv_core.data.sources.tar_index import TarSamples, expand_shards, split_name
from modrwkv_core.data.sources.webdataset import WebDatasetSource
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Text
from modrwkv_core.readers.files import cache_folder


def tar(path: Path, files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def captions(*keys: str) -> dict[str, bytes]:
    return {f"{key}.{end}": f"{end} of {key}".encode() for key in keys for end in ("jpg", "txt")}


def opened(folder: Path, path: str, **config: Any) -> WebDatasetSource:
    return WebDatasetSource(WebDatasetConfig.model_validate({"path": path, **config}, context={"data_root": folder}))


def test_captions_of_several_shards_in_any_order(tmp_path: Path) -> None:
    tar(tmp_path / "a-00.tar", captions("x", "y"))
    tar(tmp_path / "a-01.tar", captions("x"))
    tar(tmp_path / "a-02.tar", captions("left out"))
    source = opened(tmp_path, "a-{00..01}.tar", prompt="Describe it.")
    assert len(source) == 3
    expected = [(tmp_path / "a-00.tar", "x"), (tmp_path / "a-00.tar", "y"), (tmp_path / "a-01.tar", "x")]
    for index in (2, 0, 1):
        record = source[index]
        shard, key = expected[index]
        assert record.key == f"{shard}: {key}"
        assert record.turns[0].parts == (Media("image", f"jpg of {key}".encode()), Text("Describe it."))
        assert record.turns[1].parts == (Text(f"txt of {key}"),)
    assert pickle.loads(pickle.dumps(source))[1] == source[1]


def test_conversations_with_several_images(tmp_path: Path) -> None:
    llava = {
        "conversations": [{"from": "human", "value": "<image> or <image>?"}, {"from": "gpt", "value": "The second."}]
    }
    chat = {
        "messages": [
            {"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "Who?"}]},
            {"role": "assistant", "content": "A bird."},
        ]
    }
    files = {"s/1.0.png": b"first", "s/1.json": json.dumps(llava).encode(), "s/1.1.png": b"second"}
    files |= {"s/2.wav": b"chirp", "s/2.json": json.dumps(chat).encode()}
    tar(tmp_path / "talks.tar", files)
    source = opened(tmp_path, "talks.tar", conversation="json")
    assert source[0].key == f"{tmp_path}/talks.tar: s/1"
    assert source[0].turns[0].parts == (Media("image", b"first"), Text(" or "), Media("image", b"second"), Text("?"))
    assert source[1].turns[0].parts == (Media("audio", b"chirp"), Text("Who?"))


def test_media_that_do_not_fit_the_conversation_are_refused(tmp_path: Path) -> None:
    one = json.dumps({"conversations": [{"from": "human", "value": "<image> or <image>?"}]}).encode()
    parts = json.dumps({"messages": [{"role": "user", "content": [{"type": "image"}]}]}).encode()
    path = json.dumps({"messages": [{"role": "user", "content": [{"type": "image", "path": "x.jpg"}]}]}).encode()
    files = {"a.jpg": b"", "a.json": one, "b.0.jpg": b"", "b.1.jpg": b"", "b.json": parts, "c.json": path}
    files |= {"d.json": b"[", "e.json": b"[]", "f.jpg": b"", "g.json": b"{}"}
    tar(tmp_path / "bad.tar", files)
    source = opened(tmp_path, "bad.tar", conversation="json")
    for index, message in enumerate(
        (
            r"bad\.tar: a: <image> stands 2 times in the text, but 1 were given",
            r"bad\.tar: b: 1 of the given media of modality 'image' have no part in the messages",
            r"bad\.tar: c: names the file x\.jpg, but media are files of the sample",
            r"bad\.tar: d: its file json is not valid JSON",
            r"bad\.tar: e: its file json should hold a JSON object, not list",
            r"bad\.tar: f: has no file json, only: jpg",
            r"bad\.tar: g: has no list 'messages'",
        )
    ):
        with pytest.raises(DataError, match=message):
            source[index]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(sizes=st.lists(st.integers(0, 2000), min_size=1, max_size=6), long=st.booleans())
def test_samples_equal_those_that_tarfile_reads(tmp_path: Path, form: int, sizes: list[int], long: bool) -> None:
    folder = "n" * 90 + "/" + "m" * (120 if long and form != tarfile.USTAR_FORMAT else 9)
    files = {f"{folder}/é{index}.bin": bytes([index + 1]) * size for index, size in enumerate(sizes)}
    path = tar(tmp_path / "some.tar", files, form)
    os.utime(path, ns=(0, hash((tuple(sizes), long, form)) % 10**15))
    samples = TarSamples([path])
    with tarfile.open(path) as archive:
        expected = [[(name, archive.extractfile(name).read())] for name in archive.getnames()]  # type: ignore[union-attr]
    assert [samples[index][1] for index in range(len(samples))] == expected


def test_shards_are_indexed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tar(tmp_path / "a.tar", captions("x", "y"))
    assert len(TarSamples([path])) == 2
    with monkeypatch.context() as patch:
        patch.setattr(tar_index, "_find_samples", lambda path: pytest.fail("indexed again"))
        assert len(TarSamples([path])) == 2
    tar(path, captions("x", "y", "z"))
    assert len(TarSamples([path])) == 3


def test_a_damaged_index_is_made_anew(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", captions("x", "y"))
    TarSamples([path])
    (cached,) = (cache_folder() / "tar_index").iterdir()
    cached.write_bytes(cached.read_bytes()[:-3])
    assert len(TarSamples([path])) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: gzip.compress(content), r"a\.tar is compressed.*\n.*gzip -d"),
        (lambda content: content[:1024], r"a\.tar is .*truncated"),
        (lambda content: content[:1600], r"a\.tar is .*truncated"),
        (lambda content: content[:2048], r"a\.tar is truncated: it has no mark of its end"),
        (lambda content: content + content, r"a\.tar: more follows the end of the archive"),
        (lambda content: content[:1024] + b"x" * 512 + content[1536:], r"a\.tar is damaged at byte 1,024"),
        (lambda content: b"not a tar file", r"a\.tar is not a tar file"),
        (lambda content: b"", r"a\.tar is not a tar file"),
    ],
)
def test_damaged_shards_are_refused(tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    path = tar(tmp_path / "a.tar", captions("x"))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        opened(tmp_path, "a.tar")


def test_samples_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    tar(tmp_path / "apart.tar", {"a.jpg": b"", "b.jpg": b"", "a.txt": b""})
    with pytest.raises(DataError, match=r"apart\.tar: files of the sample a lie apart"):
        opened(tmp_path, "apart.tar")
    tar(tmp_path / "readme.tar", {"README": b"", ".hidden.txt": b"", "__meta__.json": b""})
    with pytest.raises(DataError, match=r"readme\.tar holds no samples"):
        opened(tmp_path, "readme.tar")
    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        link = tarfile.TarInfo("a.jpg")
        link.type = tarfile.SYMTYPE
        archive.addfile(link)
    with pytest.raises(DataError, match=r"link\.tar: a\.jpg is a link"):
        opened(tmp_path, "link.tar")


def test_a_shard_that_is_cut_off_later_is_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", captions("x", "y"))
    source = opened(tmp_path, "a.tar")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"a\.tar: cannot read the sample at byte 2,048"):
        source[1]


def test_shards_that_are_not_there_are_refused(tmp_path: Path) -> None:
    tar(tmp_path / "a-0.tar", captions("x"))
    for path, message in {
        "a-{0..1}.tar": r"cannot read .*a-1\.tar",
        "b-*.tar": r"b-\*\.tar names no shards",
        "a-{0,0}.tar": "names a shard twice",
    }.items():
        with pytest.raises(DataError, match=message):
            opened(tmp_path, path)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a-{008..011}.tar", ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]),
        ("{a,b}-{1..2}.tar", ["a-1.tar", "a-2.tar", "b-1.tar", "b-2.tar"]),
        ("plain.tar", ["plain.tar"]),
    ],
)
def test_patterns(pattern: str, expected: list[str]) -> None:
    assert expand_shards(Path("/absent") / pattern) == [Path("/absent") / name for name in expected]


def test_a_folder_and_stars_name_shards(tmp_path: Path) -> None:
    names = ["x-1.tar", "x-2.tar"]
    for name in [*names, "x.txt"]:
        (tmp_path / name).touch()
    assert expand_shards(tmp_path) == expand_shards(tmp_path / "x*.tar") == [tmp_path / name for name in names]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b.c/d.seg.PNG", ("a/b.c/d", "seg.png")),
        ("1.txt", ("1", "txt")),
        ("plain", None),
        (".hidden.txt", None),
        ("a/__meta__.json", None),
    ],
)
def test_names(name: str, expected: tuple[str, str] | None) -> None:
    assert split_name(name) == expected
