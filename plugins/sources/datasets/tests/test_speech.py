from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from modrwkv_datasets.aishell import AishellSource
from modrwkv_datasets.config import AishellConfig, LibriSpeechConfig
from modrwkv_datasets.librispeech import LibriSpeechSource

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Record, Text
from modrwkv_core.modalities.audio import AudioModality


def said(record: Record) -> tuple[Path, str]:
    medium, answer = record.turns[0].parts[0], record.turns[1].parts[0]
    assert isinstance(medium, Media)
    assert isinstance(answer, Text)
    return medium.media, answer.text


def record_sound(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(int(16_000 * seconds)), 16_000)


@pytest.fixture
def librispeech(tmp_path: Path) -> Path:
    """Two chapters of a reader to learn from, one of another to be evaluated on."""
    for split, reader, chapter, lines in (
        ("train-clean-100", 103, 1240, ["CHAPTER ONE", "THAT HAD ITS SOURCE AWAY BACK"]),
        ("train-clean-100", 103, 1241, ["MATTHEW CUTHBERT'S SURPRISED"]),
        ("test-clean", 1089, 134686, ["HE HOPED THERE WOULD BE STEW"]),
    ):
        place = tmp_path / "LibriSpeech" / split / str(reader) / str(chapter)
        names = [f"{reader}-{chapter}-{number:04}" for number in range(len(lines))]
        for name in names:
            record_sound(place / f"{name}.flac", 0.5)
        transcript = "".join(f"{name} {line}\n" for name, line in zip(names, lines, strict=True))
        (place / f"{reader}-{chapter}.trans.txt").write_text(transcript)
    return tmp_path / "LibriSpeech"


def english(path: Path, **config: Any) -> LibriSpeechSource:
    return LibriSpeechSource(LibriSpeechConfig(path=path, **config))


def test_utterances_of_librispeech(librispeech: Path) -> None:
    source = english(librispeech, splits=("train-clean-100", "test-clean"))
    assert [said(source[index])[1] for index in range(len(source))] == [
        "chapter one",
        "that had its source away back",
        "matthew cuthbert's surprised",
        "he hoped there would be stew",
    ]
    path, _ = said(source[1])
    assert path.name == "103-1240-0001.flac"
    assert len(AudioModality().decode(path).samples) == 8_000
    assert source[1].key == f"{path.parent}/103-1240.trans.txt:2"
    assert said(english(librispeech, lower=False)[0])[1] == "CHAPTER ONE"


def test_broken_librispeech(librispeech: Path) -> None:
    with pytest.raises(DataError, match=r"dev-clean holds no transcripts\n.*unpack dev-clean\.tar\.gz"):
        english(librispeech, splits=("dev-clean",))
    chapter = librispeech / "train-clean-100" / "103" / "1240"
    (chapter / "103-1240-0001.flac").unlink()
    with pytest.raises(DataError, match=r"103-1240\.trans\.txt:2: .*103-1240-0001\.flac does not exist"):
        english(librispeech)[1]
    (chapter / "103-1240.trans.txt").write_text("103-1240-0000 CHAPTER ONE\n\n103-1240-0001\n")
    with pytest.raises(DataError, match=r"103-1240\.trans\.txt:3: 103-1240-0001 has no words"):
        english(librispeech)
    (chapter / "103-1240.trans.txt").write_bytes(b"103-1240-0000 \xff\xfe\n")
    with pytest.raises(DataError, match=r"103-1240\.trans\.txt is not UTF-8"):
        english(librispeech)


@pytest.fixture
def aishell(tmp_path: Path) -> Path:
    """Two sentences to learn from, one of which has no transcript, and one to be evaluated on."""
    root = tmp_path / "data_aishell"
    for split, name in (
        ("train", "S0002/BAC009S0002W0122"),
        ("train", "S0002/BAC009S0002W0123"),
        ("test", "S0764/BAC009S0764W0121"),
    ):
        record_sound(root / "wav" / split / f"{name}.wav", 0.25)
    (root / "transcript").mkdir()
    (root / "transcript/aishell_transcript_v0.8.txt").write_text(
        "BAC009S0002W0122 而 对 楼市 成交 抑制 作用 最 大 的 限 购\nBAC009S0764W0121 甚至 出现 交易 几乎 停滞 的 情况\n"
    )
    return root


def mandarin(path: Path, **config: Any) -> AishellSource:
    return AishellSource(AishellConfig(path=path, **config))


def test_utterances_of_aishell(aishell: Path) -> None:
    train, test = mandarin(aishell), mandarin(aishell, split="test", spaces=True)
    assert (len(train), len(test)) == (1, 1)
    path, words = said(train[0])
    assert words == "而对楼市成交抑制作用最大的限购"
    assert len(AudioModality().decode(path).samples) == 4_000
    assert said(test[0])[1] == "甚至 出现 交易 几乎 停滞 的 情况"
    assert test[0].key.endswith("aishell_transcript_v0.8.txt:2")


def test_broken_aishell(aishell: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"wav/dev holds no recordings .*\n.*unpack the archives of the speakers"):
        mandarin(aishell, split="dev")
    with pytest.raises(DataError, match=r"cannot read .*aishell_transcript"):
        mandarin(tmp_path / "absent")
    source = mandarin(aishell)
    (aishell / "wav/train/S0002/BAC009S0002W0122.wav").unlink()
    with pytest.raises(DataError, match=r"v0\.8\.txt:1: .*BAC009S0002W0122\.wav does not exist"):
        source[0]
