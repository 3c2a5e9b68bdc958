import base64
import contextlib
import io
import json
import os
import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.data.sources.chat import ChatSource
from modrwkv_core.data.sources.config import ChatConfig, LabeledAudioConfig, LlavaConfig
from modrwkv_core.data.sources.labeled_audio import LabeledAudioSource
from modrwkv_core.data.sources.llava import LlavaSource
from modrwkv_core.data.sources.media import MediaStore
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Target, Text


def write_lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    return path


def chat(path: Path, *contents: Any, **config: Any) -> ChatSource:
    records = [
        {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "yes"}]}
        for content in contents
    ]
    return ChatSource(ChatConfig(path=write_lines(path / "chat.jsonl", *records), **config))


def first_part(source: ChatSource) -> Any:
    return source[0].turns[0].parts[0]


# chat


def test_chat_with_every_kind_of_part(tmp_path: Path) -> None:
    encoded = base64.b64encode(b"RIFF").decode()
    path = write_lines(
        tmp_path / "chat.jsonl",
        {
            "id": 7,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "pictures/a.png", "detail": "low"}},
                        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}},
                        {"type": "image_url", "image_url": {"url": "data:text/plain,a%20b"}},
                        {"type": "image_url", "image_url": {"url": "file:///far/my%20cat.png"}},
                        {"type": "input_audio", "input_audio": {"data": encoded, "format": "wav"}},
                        {"type": "audio", "path": "b.wav"},
                        {"type": "radar", "data": encoded},
                        {"type": "series", "values": [1, 2.5]},
                        {"type": "text", "text": "And?"},
                    ],
                },
                {"role": "assistant", "content": [{"type": "target", "head": "forecast", "values": [3, 4]}]},
            ],
        },
    )
    [record] = [ChatSource(ChatConfig(path=path))[0]]
    assert record.key == f"{path}:1"
    assert [turn.role for turn in record.turns] == ["system", "user", "assistant"]
    assert record.turns[0].parts == (Text("Be brief."),)
    *media, series, text = record.turns[1].parts
    assert media == [
        Media("image", tmp_path / "pictures/a.png"),
        Media("image", b"RIFF"),
        Media("image", b"a b"),
        Media("image", Path("/far/my cat.png")),
        Media("audio", b"RIFF"),
        Media("audio", tmp_path / "b.wav"),
        Media("radar", b"RIFF"),
    ]
    assert isinstance(series, Media)
    assert series.media.tolist() == [1, 2.5]
    assert text == Text("And?")
    [answer] = record.turns[2].parts
    assert isinstance(answer, Target)
    assert answer.head == "forecast"
    assert answer.value.tolist() == [3, 4]


def test_media_in_another_folder_or_an_archive(tmp_path: Path) -> None:
    part = [{"type": "audio", "path": "deep/b.wav"}]
    (tmp_path / "sounds").mkdir()
    assert first_part(chat(tmp_path, part, media=tmp_path / "sounds")).media == tmp_path / "sounds/deep/b.wav"
    with zipfile.ZipFile(tmp_path / "sounds.zip", "w") as archive:
        archive.writestr("deep/b.wav", b"RIFF")
    source = chat(tmp_path, part, [{"type": "audio", "path": "c.wav"}], media=tmp_path / "sounds.zip")
    assert first_part(source).media == b"RIFF"
    assert first_part(pickle.loads(pickle.dumps(source))).media == b"RIFF"
    with pytest.raises(DataError, match=r"chat.jsonl:2: the archive .*sounds\.zip has no member c\.wav"):
        source[1]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_reads_archives_by_itself(tmp_path: Path) -> None:
    """The parent's open file and the child's must not move each other's position."""
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        for index in range(20):
            archive.writestr(str(index), bytes([index]) * 70_000)
    source = chat(tmp_path, *([{"type": "audio", "path": str(index)}] for index in range(20)), media=tmp_path / "m.zip")

    def all_right() -> bool:
        parts: list[Any] = [source[index].turns[0].parts[0] for index in list(range(20)) * 5]
        return all(part.media == bytes([index % 20]) * 70_000 for index, part in enumerate(parts))

    assert all_right()
    child = os.fork()
    if child == 0:
        os._exit(0 if all_right() else 1)
    mine = all_right()
    assert os.waitpid(child, 0)[1] == 0
    assert mine


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}], "not on this machine"),
        ([{"type": "image_url", "image_url": "a.png"}], "'image_url' is missing or not a dict"),
        ([{"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}}], "not base64"),
        ([{"type": "series", "values": [1, 10**400]}], "too large for float32"),
        ([{"type": "series", "values": [1, 1e39]}], "too large for float32"),
        ([{"type": "audio"}], "a part of type 'audio' has nothing to read"),
        ([{"type": "audio", "path": "a", "data": "aa"}], "has path and data to read"),
        ([{"type": "series", "values": [[1], [2, 3]]}], "not numbers in rows of equal lengths"),
        ([{"type": "text"}], "'text' is missing"),
        ([{"text": "hello"}], "'type' is missing"),
        (["hello"], "'type' is missing"),
        (None, "neither a text nor a list of parts"),
    ],
)
def test_broken_chat_parts(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"chat\.jsonl:1: .*{message}"):
        chat(tmp_path, content)[0]


def test_broken_chat_records(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", {"text": "?"}, {"messages": [{"role": "tool", "content": "?"}]})
    with pytest.raises(DataError, match=r"a\.jsonl:1: has no list 'messages'"):
        ChatSource(ChatConfig(path=path))[0]
    with pytest.raises(DataError, match=r"a\.jsonl:2: unknown role 'tool'"):
        ChatSource(ChatConfig(path=path))[1]


# LLaVA


def llava(tmp_path: Path, *records: Any) -> LlavaSource:
    (tmp_path / "llava.json").write_text(json.dumps(records))
    return LlavaSource(LlavaConfig(path=tmp_path / "llava.json", media=tmp_path))


def said(*values: str, begin: str = "human") -> list[dict[str, str]]:
    speakers = ["human", "gpt"] if begin == "human" else ["gpt", "human"]
    return [{"from": speakers[index % 2], "value": value} for index, value in enumerate(values)]


def test_llava_identity_published(tmp_path: Path) -> None:
    source = llava(
        tmp_path,
        {"id": "1", "image": "coco/1.jpg", "conversations": said("<image>\nWhat?", "A bus.", "Why?", "So.")},
        {"id": "2", "image": "2.jpg", "conversations": said("Describe.\n<image>", "A cat.")},
        {"id": "3", "image": ["a.png", "b.png"], "conversations": said("<image> or <image>?", "b")},
        {"id": "4", "conversations": said("Write HTML.", "No.")},
        {"id": "5", "image": "5.jpg", "conversations": said("What?", "That.")},
        {"id": "6", "conversations": said("I was cut.", "What?", "That.", begin="gpt")},
    )
    users = [source[index].turns[0].parts for index in range(6)]
    assert users == [
        (Media("image", tmp_path / "coco/1.jpg"), Text("What?")),
        (Text("Describe."), Media("image", tmp_path / "2.jpg")),
        (Media("image", tmp_path / "a.png"), Text(" or "), Media("image", tmp_path / "b.png"), Text("?")),
        (Text("Write HTML."),),
        (Media("image", tmp_path / "5.jpg"), Text("What?")),
        (Text("What?"),),
    ]
    assert [turn.role for turn in source[0].turns] == ["user", "assistant", "user", "assistant"]
    assert source[0].turns[3].parts == (Text("So."),)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"conversations": said("<image>\nWhat?", "A bus.")}, "names <image>, but the record has no 'image'"),
        ({"image": ["a", "b"], "conversations": said("<image>", "x")}, "<image> stands 1 times in the text, but 2"),
        ({"image": 3, "conversations": said("hi", "x")}, "'image' should be a path"),
        ({"videos": [3], "conversations": said("hi", "x")}, "'videos' should be a path"),
        ({"conversations": said("<video>\nWhat?", "x")}, "names <video>, but the record has no 'video'"),
        ({"image": "a", "conversations": said("<image> <audio>", "x")}, "names <audio>"),
        ({"conversations": [{"from": "bard", "value": "x"}]}, "not a message of a conversation.*bard"),
        ({"conversations": [{"from": "gpt", "value": "x"}]}, "holds no question"),
        ({"messages": []}, "has no list 'conversations'"),
    ],
)
def test_broken_llava_records(tmp_path: Path, record: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"llava\.json:1: .*{message}"):
        llava(tmp_path, record)[0]


def test_llava_of_other_programs(tmp_path: Path) -> None:
    talk = [{"from": "user", "value": "<video>What?<image>"}, {"from": "assistant", "value": "An <image> element."}]
    source = llava(tmp_path, {"video": "v.mp4", "images": ["i.png"], "conversations": talk})
    asked, answered = source[0].turns
    assert asked.parts == (Media("video", tmp_path / "v.mp4"), Text("What?"), Media("image", tmp_path / "i.png"))
    assert answered.parts == (Text("An <image> element."),)


def test_chats_with_listed_media(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Look."},
        {"role": "user", "content": "<image>Which?"},
        {"role": "assistant", "content": "An <image>."},
    ]
    write_lines(
        tmp_path / "chats.jsonl",
        {"messages": messages, "images": ["a.png"], "videos": ["v.mp4"]},
        {"messages": messages},
        {"messages": messages, "images": []},
        {"messages": [{"role": "user", "content": [{"type": "image", "path": "b.png"}]}], "images": ["a.png"]},
        {"messages": messages[:1], "images": ["a.png"]},
    )
    source = ChatSource(ChatConfig(path=tmp_path / "chats.jsonl"))
    a, film = Media("image", tmp_path / "a.png"), Media("video", tmp_path / "v.mp4")
    assert [turn.parts for turn in source[0].turns] == [
        (Text("Look."),),
        (film, a, Text("Which?")),
        (Text("An <image>."),),
    ]
    assert source[1].turns[1].parts == (Text("<image>Which?"),), "without a list, text is text"
    for index, message in ((2, "names <image>"), (3, "are parts of messages, too"), (4, "no question")):
        with pytest.raises(DataError, match=rf"chats\.jsonl:{index + 1}: .*{message}"):
            source[index]


# archives


def test_archives_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "media.zip"

    def pack(**changes: int) -> MediaStore:
        """An archive of one member whose records say something else."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", b"pixels" * 100)
        content = bytearray(path.read_bytes())
        directory = content.index(b"PK\x01\x02")
        for field, value in changes.items():
            local, central = {"flags": (6, 8), "method": (8, 10)}[field]
            content[local] = content[directory + central] = value
        other = tmp_path / f"{len(list(tmp_path.iterdir()))}.zip"
        other.write_bytes(content)
        return MediaStore(other)

    assert pack().find("a.png") == b"pixels" * 100
    for changes, message in (
        ({"flags": 1}, "has a password"),
        ({"method": 9}, "cannot be unpacked"),
        ({"method": 99}, ""),
    ):
        with pytest.raises(DataError, match=rf"a\.png in the archive .*{message}"):
            pack(**changes).find("a.png")
    monkeypatch.setenv("MODRWKV_MAX_FILE_BYTES", "599")
    with pytest.raises(DataError, match="too large: 600 bytes, the limit is 599"):
        pack().find("a.png")


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_archives_are_refused_or_read(damage: list[tuple[int, int]]) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(range(200)))
    content = bytearray(packed.getvalue())
    for place, value in damage:
        content[place % len(content)] = value
    with tempfile.NamedTemporaryFile(suffix=".zip") as file:
        Path(file.name).write_bytes(content)
        with contextlib.suppress(DataError):
            assert MediaStore(Path(file.name)).find("a.png") == bytes(range(200))


# labeled audio


def test_labeled_audio_of_csv(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text('\ufefffile_name,transcription\r\na.wav,"Stop, now"\r\nb.wav\r\n', encoding="utf-8")
    source = LabeledAudioSource(LabeledAudioConfig(path=path, audio_column="file_name", text_column="transcription"))
    assert len(source) == 2
    assert source[0].turns[0].parts == (Media("audio", tmp_path / "a.wav"),)
    assert source[0].turns[1].parts == (Text("Stop, now"),)
    with pytest.raises(DataError, match=r"metadata\.csv:3: 1 fields below a header of 2"):
        source[1]


def test_labeled_audio_of_tsv_and_jsonl(tmp_path: Path) -> None:
    tsv = tmp_path / "list.tsv"
    tsv.write_text('file\tseconds\tsaid\na.wav\t1.0\tstop\n\nb.wav\t2.0\tsay "go"\n')
    jsonl = write_lines(
        tmp_path / "list.jsonl", *[{"file": f, "said": s} for f, s in (("a.wav", "stop"), ("b.wav", 'say "go"'))]
    )
    for path in (tsv, jsonl):
        source = LabeledAudioSource(
            LabeledAudioConfig(path=path, audio_column="file", text_column="said", prompt="Transcribe.")
        )
        assert len(source) == 2
        user, assistant = source[1].turns
        assert user.parts == (Media("audio", tmp_path / "b.wav"), Text("Transcribe."))
        assert assistant.parts == (Text('say "go"'),)
    assert (
        LabeledAudioSource(LabeledAudioConfig(path=tsv, audio_column="file", text_column="said"))[1].key == f"{tsv}:4"
    )


def test_broken_audio_lists(tmp_path: Path) -> None:
    tsv = tmp_path / "list.tsv"
    tsv.write_text("path\ttext\na.wav\n")
    with pytest.raises(DataError, match=r"list\.tsv:2: 1 fields below a header of 2"):
        LabeledAudioSource(LabeledAudioConfig(path=tsv))[0]
    tsv.write_text("path\tsentence\na.wav\thello\n")
    with pytest.raises(DataError, match=r"list\.tsv:2: has no text 'text', only: path, sentence"):
        LabeledAudioSource(LabeledAudioConfig(path=tsv))[0]
    with pytest.raises(DataError, match="cannot read"):
        LabeledAudioSource(LabeledAudioConfig(path=tmp_path / "absent.tsv"))
    with pytest.raises(DataError, match="absent does not exist"):
        LabeledAudioSource(LabeledAudioConfig(path=tsv, media=tmp_path / "absent"))
