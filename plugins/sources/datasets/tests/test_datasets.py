import io
import json
import os
import pickle
import wave
import zipfile
from pathlib import Path
from typing import Any

import pytest
from modrwkv_datasets.config import EasyVqaConfig, FsddConfig
from modrwkv_datasets.easy_vqa import EasyVqaSource
from modrwkv_datasets.fsdd import FsddSource

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Record, Text
from modrwkv_core.modalities.audio import AudioModality
from modrwkv_core.modalities.image import ImageModality


def words(record: Record) -> list[str]:
    return [part.text for turn in record.turns for part in turn.parts if isinstance(part, Text)]


def media(record: Record) -> list[Any]:
    return [part.media for turn in record.turns for part in turn.parts if isinstance(part, Media)]


@pytest.fixture
def easy_vqa(tmp_path: Path) -> Path:
    """Twenty images with three questions each to learn from, one image to be evaluated on."""
    for part, count in (("train", 20), ("test", 1)):
        folder = tmp_path / part
        folder.mkdir()
        questions = [[f"{part} {kind}?", f"{picture}", picture] for picture in range(count) for kind in "abc"]
        (folder / "questions.json").write_text(json.dumps(questions))
        with zipfile.ZipFile(folder / "images.zip", "w") as archive:
            for picture in range(count):
                archive.writestr(f"{picture}.png", f"image {picture}")
    return tmp_path


def vqa(path: Path, **config: Any) -> EasyVqaSource:
    return EasyVqaSource(EasyVqaConfig(path=path, **config))


def test_questions_alone(easy_vqa: Path) -> None:
    source = vqa(easy_vqa, part="test")
    assert [words(source[index]) for index in range(len(source))] == [[f"test {kind}?", "0"] for kind in "abc"]
    assert media(source[1]) == [b"image 0"]
    assert source[1].key == f"{easy_vqa}/test/images.zip:0.png: test b?"


def test_questions_of_a_picture_as_turns(easy_vqa: Path) -> None:
    source = vqa(easy_vqa, turns=2, holdout=0.0)
    records = [source[index] for index in range(len(source))]
    assert [len(record.turns) for record in records] == [4, 2] * 20
    assert all(
        len(media(record)) == 1 and record.turns[0].parts[0] == Media("image", media(record)[0]) for record in records
    )
    asked = sorted(
        (media(record)[0], question, answer)
        for record in records
        for question, answer in zip(words(record)[::2], words(record)[1::2], strict=True)
    )
    assert asked == sorted((f"image {p}".encode(), f"train {kind}?", f"{p}") for p in range(20) for kind in "abc")
    again, other = vqa(easy_vqa, turns=2, holdout=0.0), vqa(easy_vqa, turns=2, holdout=0.0, seed=1)
    assert [again[index] for index in range(len(again))] == records
    assert [other[index] for index in range(len(other))] != records


def test_questions_that_name_what_is_seen_alone(easy_vqa: Path) -> None:
    asked = [["what shape is present?", "circle", 0], ["is there a circle?", "yes", 0], ["is it red?", "no", 1]]
    (easy_vqa / "train" / "questions.json").write_text(json.dumps([*asked, ["what color is the shape?", "red", 0]]))
    for turns in (1, 2):
        source = vqa(easy_vqa, questions="what", turns=turns, holdout=0.0)
        said = [word for index in range(len(source)) for word in words(source[index])]
        assert sorted(said) == ["circle", "red", "what color is the shape?", "what shape is present?"]
        assert {picture for index in range(len(source)) for picture in media(source[index])} == {b"image 0"}


def test_pictures_are_held_back_whatever_the_seed(easy_vqa: Path) -> None:
    def pictures(**config: Any) -> set[bytes]:
        source = vqa(easy_vqa, holdout=0.25, **config)
        return {media(source[index])[0] for index in range(len(source))}

    held = pictures(part="valid")
    assert len(held) == 5
    for seed in range(3):
        train = pictures(part="train", seed=seed, turns=2)
        assert not train & held
        assert len(train | held) == 20


def test_sources_pickle(easy_vqa: Path) -> None:
    source = vqa(easy_vqa, turns=3)
    source[0]
    assert pickle.loads(pickle.dumps(source))[3] == source[3]


def test_broken_easy_vqa(easy_vqa: Path) -> None:
    (easy_vqa / "train/questions.json").write_text('[["what?", "circle", 99]]')
    with pytest.raises(DataError, match=r"images\.zip has no member 99\.png"):
        vqa(easy_vqa, holdout=0.0)[0]
    (easy_vqa / "train/questions.json").write_text('[["what?", "circle"]]')
    with pytest.raises(DataError, match=r"should list \[question, answer, image\]"):
        vqa(easy_vqa)
    (easy_vqa / "train/questions.json").write_text("[")
    with pytest.raises(DataError, match=r"questions\.json is not valid JSON"):
        vqa(easy_vqa)
    with pytest.raises(DataError, match=r"cannot read .*absent"):
        vqa(easy_vqa / "absent")
    (easy_vqa / "test/images.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="cannot open the archive"):
        vqa(easy_vqa, part="test")[0]


def sound() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as output:
        output.setparams((1, 2, 8000, 0, "NONE", ""))
        output.writeframes(bytes(range(200)))
    return file.getvalue()


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    path = tmp_path / "recordings.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("README.md", "not a recording")
        for digit in range(10):
            for take in range(50):
                archive.writestr(f"{digit}_theo_{take}.wav", sound())
    return path


def test_official_takes(recordings: Path) -> None:
    def takes(**config: Any) -> set[int]:
        source = FsddSource(FsddConfig(path=recordings, **config))
        keys = [source[index].key for index in range(len(source))]
        assert len(set(keys)) == len(keys)
        return {int(key.removesuffix(".wav").rsplit("_", 1)[1]) for key in keys}

    assert takes(part="test") == set(range(5))
    assert takes(part="train") == set(range(5, 45))
    assert takes(part="valid") == set(range(45, 50))
    assert takes(part="train", valid_takes=0) == set(range(5, 50))
    assert takes(part="valid", valid_takes=50) == set(range(5, 50))
    with pytest.raises(DataError, match="no recordings of the part 'valid'"):
        takes(part="valid", valid_takes=0)


def test_a_spoken_digit(recordings: Path) -> None:
    source = FsddSource(FsddConfig(path=recordings, part="test"))
    assert len(source) == 50
    record = source[37]
    assert record.key == f"{recordings}:7_theo_2.wav"
    assert words(record) == ["Which digit is spoken?", "seven"]
    assert AudioModality().decode(media(record)[0]).rate == 8000
    copy = pickle.loads(pickle.dumps(source))
    assert copy[37] == record


def test_missing_recordings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot open the archive"):
        FsddSource(FsddConfig(path=tmp_path / "absent.zip"))


@pytest.fixture
def data_root() -> Path:
    root = os.environ.get("MODRWKV_DATA")
    if root is None:
        pytest.skip("MODRWKV_DATA is not set: the published files are not here")
    return Path(root)


def test_published_easy_vqa(data_root: Path) -> None:
    def source(**config: Any) -> EasyVqaSource:
        return EasyVqaSource(EasyVqaConfig.model_validate(config, context={"data_root": data_root}))

    test, train, valid = source(part="test"), source(), source(part="valid")
    assert len(test) == 9_673
    assert len(train) + len(valid) == 38_575
    picture = ImageModality().decode(media(test[0])[0])
    assert picture.pixels.shape == (64, 64, 3)
    assert {answer for index in range(len(test)) for answer in words(test[index])[1:]} == set(
        (data_root / "easy_vqa/answers.txt").read_text().split()
    )


def test_fsdd_leaves_a_speaker_out(tmp_path: Path) -> None:
    path = tmp_path / "recordings.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for speaker in ("ann", "bob", "eve"):
            for take in range(50):
                archive.writestr(f"7_{speaker}_{take}.wav", b"")

    def recordings(part: Any) -> set[tuple[str, int]]:
        source = FsddSource(FsddConfig(path=path, part=part, test_speaker="bob"))
        names = [
            record.key.rsplit("7_", 1)[1].removesuffix(".wav") for record in map(source.__getitem__, range(len(source)))
        ]
        return {(name.split("_")[0], int(name.split("_")[1])) for name in names}

    assert recordings("test") == {("bob", take) for take in range(50)}
    assert recordings("valid") == {(name, take) for name in ("ann", "eve") for take in range(45, 50)}
    assert recordings("train") == {(name, take) for name in ("ann", "eve") for take in range(45)}
    with pytest.raises(DataError, match="'tom'") as caught:
        FsddSource(FsddConfig(path=path, test_speaker="tom"))
    assert "ann, bob, eve" in str(caught.value)


def test_published_fsdd(data_root: Path) -> None:
    def source(**config: Any) -> FsddSource:
        return FsddSource(FsddConfig.model_validate(config, context={"data_root": data_root}))

    assert [len(source(part=part)) for part in ("train", "valid", "test")] == [2_400, 300, 300]
    assert [len(source(part=part, test_speaker="theo")) for part in ("train", "valid", "test")] == [2_250, 250, 500]
    test = source(part="test")
    for index in range(0, 300, 30):
        waveform = AudioModality().decode(media(test[index])[0])
        assert waveform.rate == 8_000
        assert 0.1 < len(waveform.samples) / waveform.rate < 3
