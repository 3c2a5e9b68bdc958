import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modrwkv_core.data.sources.config import LabeledFeaturesConfig
from modrwkv_core.data.sources.labeled_features import LabeledFeaturesSource
from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.record import Media, Text
from modrwkv_core.modalities.features import FeaturesModality

FRAMES = np.arange(60, dtype=np.float32).reshape(20, 3)
TABLE = "split\tstart_frame\tn_frames\ttext\ntrain\t0\t4\tone\ntest\t4\t6\ttwo\ntrain\t10\t10\tthree\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.savez_compressed(tmp_path / "joined.npz", mfcc=FRAMES)
    np.save(tmp_path / "joined.npy", FRAMES)
    (tmp_path / "table.tsv").write_text(TABLE)
    return tmp_path


def opened(folder: Path, **settings: Any) -> LabeledFeaturesSource:
    return LabeledFeaturesSource(LabeledFeaturesConfig.model_validate(settings, context={"data_root": folder}))


def contents(source: LabeledFeaturesSource) -> list[tuple[list[list[float]], str]]:
    found = []
    for index in range(len(source)):
        question, answer = source[index].turns
        medium, text = question.parts[0], answer.parts[0]
        assert isinstance(medium, Media)
        assert isinstance(text, Text)
        found.append((FeaturesModality().decode(medium.media).values.tolist(), text.text))
    return found


@pytest.mark.parametrize("name", ["joined.npz", "joined.npy"])
def test_frames_of_a_joined_array(folder: Path, name: str) -> None:
    expected = [(FRAMES[:4].tolist(), "one"), (FRAMES[4:10].tolist(), "two"), (FRAMES[10:].tolist(), "three")]
    source = opened(folder, path="table.tsv", joined=name)
    assert contents(source) == expected
    assert contents(pickle.loads(pickle.dumps(source))) == expected


def test_rows_are_chosen_by_their_columns(folder: Path) -> None:
    source = opened(folder, path="table.tsv", joined="joined.npy", where={"split": "train"}, prompt="Write it down.")
    assert [text for _, text in contents(source)] == ["one", "three"]
    assert [source[index].key for index in range(2)] == [f"{folder}/table.tsv:2", f"{folder}/table.tsv:4"]
    assert source[0].turns[0].parts[1] == Text("Write it down.")
    assert [text for _, text in contents(opened(folder, path="table.tsv", joined="joined.npy", rows=(1, 3)))] == [
        "two",
        "three",
    ]
    held_back = opened(folder, path="table.tsv", joined="joined.npy", where={"split": "train"}, rows=(1, 2))
    assert [text for _, text in contents(held_back)] == ["three"]
    with pytest.raises(DataError, match=r"table\.tsv has 2 such rows, `rows` ends at 3"):
        opened(folder, path="table.tsv", joined="joined.npy", where={"split": "train"}, rows=(1, 3))
    with pytest.raises(DataError, match=r"table\.tsv has no row with split 'valid'"):
        opened(folder, path="table.tsv", joined="joined.npy", where={"split": "valid"})
    with pytest.raises(DataError, match=r"table\.tsv:2: has no 'part', only: split"):
        opened(folder, path="table.tsv", joined="joined.npy", where={"part": "train"})


def test_a_file_for_each_row(folder: Path) -> None:
    np.save(folder / "a.npy", FRAMES[:5])
    np.savez(folder / "b.npz", embedding=FRAMES[5:])
    rows = [{"path": "a.npy", "text": "a"}, {"path": "b.npz", "text": "b"}]
    (folder / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert contents(opened(folder, path="list.jsonl")) == [(FRAMES[:5].tolist(), "a"), (FRAMES[5:].tolist(), "b")]


@pytest.mark.parametrize(
    ("start", "frames", "message"),
    [
        ("18", "3", r"table\.tsv:2: frames 18 to 21 are wanted of .*joined\.npy, which has 20"),
        ("3", "0", r"table\.tsv:2: frames 3 to 3 are wanted"),
        ("-1", "3", r"table\.tsv:2: has no whole number 'start_frame'"),
        ("0", "2.5", r"table\.tsv:2: has no whole number 'n_frames'"),
    ],
)
def test_frames_that_are_not_there_are_refused(folder: Path, start: str, frames: str, message: str) -> None:
    (folder / "table.tsv").write_text(f"start_frame\tn_frames\ttext\n{start}\t{frames}\tone\n")
    with pytest.raises(DataError, match=message):
        opened(folder, path="table.tsv", joined="joined.npy")[0]


def test_bad_joined_arrays_are_refused_at_once(folder: Path) -> None:
    np.save(folder / "flat.npy", FRAMES[0])
    np.save(folder / "objects.npy", np.array([None, "a"], dtype=object), allow_pickle=True)
    (folder / "cut.npy").write_bytes((folder / "joined.npy").read_bytes()[:100])
    (folder / "longer.npy").write_bytes((folder / "joined.npy").read_bytes() * 2)
    for name, message in {
        "longer.npy": r"longer\.npy holds more than one array",
        "absent.npy": "cannot read .*absent",
        "flat.npy": r"flat\.npy has the shape \[3\]",
        "objects.npy": r"objects\.npy holds Python objects",
        "cut.npy": r"cut\.npy is a damaged NumPy file",
    }.items():
        with pytest.raises(DataError, match=message):
            opened(folder, path="table.tsv", joined=name)
