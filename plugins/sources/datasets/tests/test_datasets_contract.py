import io
import json
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image

from modrwkv_core.testing import SourceContract
from modrwkv_core.testing.import_cost import HEAVY, import_in_subprocess


class TestEasyVqa(SourceContract):
    plugin = "modrwkv_datasets.plugin"
    name = "easy_vqa"
    configs = ({}, {"path": "easy_vqa", "part": "test", "turns": 2})

    def write(self, folder: Path) -> None:
        for part in ("train", "test"):
            place = folder / "easy_vqa" / part
            place.mkdir(parents=True)
            questions = [[f"{kind}?", str(picture), picture] for picture in range(4) for kind in "ab"]
            (place / "questions.json").write_text(json.dumps(questions))
            with zipfile.ZipFile(place / "images.zip", "w") as archive:
                for picture in range(4):
                    archive.writestr(f"{picture}.png", f"image {picture}")


class TestFsdd(SourceContract):
    plugin = "modrwkv_datasets.plugin"
    name = "fsdd"
    configs = ({}, {"part": "test"})

    def write(self, folder: Path) -> None:
        (folder / "fsdd").mkdir()
        with zipfile.ZipFile(folder / "fsdd" / "fsdd_recordings.zip", "w") as archive:
            for digit in range(10):
                for take in range(50):
                    archive.writestr(f"{digit}_theo_{take}.wav", b"RIFF")


class TestLibriSpeech(SourceContract):
    plugin = "modrwkv_datasets.plugin"
    name = "librispeech"
    configs = ({}, {"splits": ["dev-clean", "train-clean-100"], "lower": False, "prompt": "Write it down."})

    def write(self, folder: Path) -> None:
        for split in ("train-clean-100", "dev-clean"):
            place = folder / "LibriSpeech" / split / "84" / "121123"
            place.mkdir(parents=True)
            names = [f"84-121123-{number:04}" for number in range(3)]
            (place / "84-121123.trans.txt").write_text("".join(f"{name} GO ON\n" for name in names))
            for name in names:
                (place / f"{name}.flac").write_bytes(b"fLaC")


class TestAishell(SourceContract):
    plugin = "modrwkv_datasets.plugin"
    name = "aishell"
    configs = ({}, {"split": "test", "spaces": True})

    def write(self, folder: Path) -> None:
        root, lines = folder / "data_aishell", []
        for split, speaker in (("train", "S0002"), ("test", "S0764")):
            (root / "wav" / split / speaker).mkdir(parents=True)
            for number in range(3):
                name = f"BAC009{speaker}W{number:04}"
                (root / "wav" / split / speaker / f"{name}.wav").write_bytes(b"RIFF")
                lines.append(f"{name} 广州 市\n")
        (root / "transcript").mkdir()
        (root / "transcript" / "aishell_transcript_v0.8.txt").write_text("".join(lines))


class TestPhotoStream(SourceContract):
    plugin = "modrwkv_datasets.plugin"
    name = "photo_stream"
    configs = ({"count": 3}, {"count": 3, "part": "test", "photos": 6, "min_photos": 2, "turns": 3})

    def write(self, folder: Path) -> None:
        (folder / "cifar10_photos").mkdir()
        for part in ("train", "test"):
            with zipfile.ZipFile(folder / "cifar10_photos" / f"{part}.zip", "w") as archive:
                for kind in ("cat", "dog", "ship"):
                    for number in range(10):
                        archive.writestr(f"{kind}/{number:04}.jpg", f"{part} {kind} {number}")


class TestPhotoGrid(SourceContract):
    plugin = "modrwkv_datasets.plugin"
    name = "photo_grid"
    configs = ({"mirror": True, "turns": 4}, {"count": 5, "part": "test", "grid": 1}, {"part": "valid", "holdout": 0.5})

    def write(self, folder: Path) -> None:
        (folder / "cifar10_photos").mkdir()
        random = np.random.default_rng(0)
        for part in ("train", "test"):
            with zipfile.ZipFile(folder / "cifar10_photos" / f"{part}.zip", "w") as archive:
                for kind in ("cat", "dog", "ship"):
                    for number in range(6):
                        file = io.BytesIO()
                        PIL.Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(file, "JPEG")
                        archive.writestr(f"{kind}/{number:04}.jpg", file.getvalue())


def test_configuration_never_loads_torch() -> None:
    assert not import_in_subprocess("modrwkv_datasets.config").packages & HEAVY
