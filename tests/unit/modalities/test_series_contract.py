from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from modrwkv_core.testing import ModalityContract


class TestSeries(ModalityContract):
    plugin = "modrwkv_core.builtin"
    name = "series"

    def media(self, folder: Path) -> list[Any]:
        (folder / "table.csv").write_text("date,oil\n2016-07-01,1.5\n2016-07-02,2.5\n")
        np.save(folder / "array.npy", np.eye(3))
        return [folder / "table.csv", str(folder / "array.npy"), b"1\n2\n", [1.0, 2.0], np.ones((4, 2))]

    def bad_media(self, folder: Path) -> list[Any]:
        (folder / "words.csv").write_text("one\ntwo\n")
        return [folder / "words.csv", [float("nan")], np.ones((2, 2, 2))]
