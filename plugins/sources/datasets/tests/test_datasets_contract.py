import json
import zipfile
from pathlib import Path

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


def test_configuration_never_loads_torch() -> None:
    assert not import_in_subprocess("modrwkv_datasets.config").packages & HEAVY
