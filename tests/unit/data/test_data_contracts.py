"""The contracts of sources and tokenizers hold for those of the core."""

from __future__ import annotations

import io
import json
import tarfile
import wave
from pathlib import Path

import numpy as np
from PIL import Image

from modrwkv_core.testing import SourceContract, TokenizerContract

TALK = [{"role": "user", "content": "Say yes."}, {"role": "assistant", "content": "yes"}]


class TestBytes(TokenizerContract):
    plugin = "modrwkv_core.builtin"
    name = "bytes"


class TestWorld(TokenizerContract):
    plugin = "modrwkv_core.builtin"
    name = "world"


class TestChat(SourceContract):
    plugin = "modrwkv_core.builtin"
    name = "chat"
    configs = ({"path": "talks.jsonl"}, {"path": "talks.json", "repeat": 0.5})

    def write(self, folder: Path) -> None:
        lines = [json.dumps({"messages": TALK}) for _ in range(3)]
        (folder / "talks.jsonl").write_text("\n".join(lines) + "\n")
        (folder / "talks.json").write_text(f"[{','.join(lines)}]".replace("},{", "},\n{"))


class TestText(SourceContract):
    plugin = "modrwkv_core.builtin"
    name = "text"
    configs = (
        {"path": "lines.txt"},
        {"path": "wiki.raw", "split": "articles"},
        {"path": "lambada.jsonl"},
        {"path": "list.json", "text_key": "body"},
    )

    def write(self, folder: Path) -> None:
        (folder / "lines.txt").write_text("one\n\ntwo words\n")
        (folder / "wiki.raw").write_text(
            " \n = Cats = \n \n Cats .\n \n = = Food = = \n \n Mice .\n = Dogs = \n Dogs .\n"
        )
        (folder / "lambada.jsonl").write_text('{"text": "a b"}\n{"text": "c d"}\n')
        (folder / "list.json").write_text('[{"body": "a b"},\n{"body": "c d"}]')


class TestLlava(SourceContract):
    plugin = "modrwkv_core.builtin"
    name = "llava"
    configs = ({"path": "llava.json"},)

    def write(self, folder: Path) -> None:
        Image.new("RGB", (4, 4)).save(folder / "a.png")
        said = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Black."}]
        records = [{"id": str(index), "image": "a.png", "conversations": said} for index in range(2)]
        (folder / "llava.json").write_text(json.dumps(records, indent=1))


class TestLabeledAudio(SourceContract):
    plugin = "modrwkv_core.builtin"
    name = "labeled_audio"
    configs = ({"path": "list.tsv"},)

    def write(self, folder: Path) -> None:
        with wave.open(str(folder / "a.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(800))
        (folder / "list.tsv").write_text("path\ttext\na.wav\tone\na.wav\ttwo\n")


class TestLabeledFeatures(SourceContract):
    plugin = "modrwkv_core.builtin"
    name = "labeled_features"
    configs = ({"path": "list.tsv"}, {"path": "list.tsv", "joined": "a.npy", "where": {"speaker": "x"}})

    def write(self, folder: Path) -> None:
        np.save(folder / "a.npy", np.arange(12, dtype=np.float32).reshape(6, 2))
        rows = ["path\tspeaker\tstart_frame\tn_frames\ttext", "a.npy\tx\t0\t2\tone", "a.npy\tx\t2\t4\ttwo"]
        (folder / "list.tsv").write_text("\n".join(rows) + "\n")


class TestWebDataset(SourceContract):
    plugin = "modrwkv_core.builtin"
    name = "webdataset"
    configs = ({"path": "shards"}, {"path": "shards/{a,b}.tar", "modalities": {"npy": "features"}, "prompt": "What?"})

    def write(self, folder: Path) -> None:
        (folder / "shards").mkdir()
        for name in ("a", "b"):
            with tarfile.open(folder / "shards" / f"{name}.tar", "w") as archive:
                for index in range(3):
                    for ending, content in (("jpg", b"pixels"), ("npy", b"frames"), ("txt", b"a word")):
                        member = tarfile.TarInfo(f"{index}.{ending}")
                        member.size = len(content)
                        archive.addfile(member, io.BytesIO(content))


class TestCsvWindows(SourceContract):
    plugin = "modrwkv_core.builtin"
    name = "csv_windows"
    configs = ({"path": "waves.csv", "context_length": 8, "horizon": 2, "head": "demand"},)

    def write(self, folder: Path) -> None:
        rows = [f"{index},{np.sin(index):.4f}" for index in range(20)]
        (folder / "waves.csv").write_text("hour,wave\n" + "\n".join(rows) + "\n")


class TestSyntheticSeries(SourceContract):
    plugin = "modrwkv_core.builtin"
    name = "synthetic_series"
    configs = (
        {"count": 4, "context_length": 30, "horizon": 5},
        {"count": 3, "context_length": 8, "horizon": 2, "max_noise": 0},
    )

    def write(self, folder: Path) -> None:
        """There is nothing to write: series are drawn."""
