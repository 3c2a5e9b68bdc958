import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.signals import FeatureFrames
from modrwkv_core.modalities.features import FeaturesModality
from modrwkv_core.testing import ModalityContract

CEPSTRA = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)


def npy(array: NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npz(**arrays: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


class TestFeatures(ModalityContract):
    plugin = "modrwkv_core.builtin"
    name = "features"

    def media(self, folder: Path) -> Sequence[Any]:
        (folder / "a.npy").write_bytes(npy(CEPSTRA))
        (folder / "a.npz").write_bytes(npz(cepstra=CEPSTRA))
        nested = CEPSTRA.tolist()
        return [folder / "a.npy", str(folder / "a.npz"), npy(CEPSTRA), npz(x=CEPSTRA), CEPSTRA, CEPSTRA.T, nested]

    def bad_media(self, folder: Path) -> Sequence[Any]:
        content = npy(CEPSTRA)
        (folder / "cut.npy").write_bytes(content[:-4])
        (folder / "longer.npy").write_bytes(content + b"\0")
        (folder / "cut.npz").write_bytes(npz(x=CEPSTRA)[:-30])
        (folder / "text.npy").write_text("1,2,3")
        return [folder / "cut.npy", folder / "longer.npy", folder / "cut.npz", folder / "text.npy", "absent.npy", 3.5]


@pytest.mark.parametrize("content", [npy(CEPSTRA), npz(cepstra=CEPSTRA), npy(CEPSTRA.astype(np.float64)), CEPSTRA])
def test_all_forms_give_the_same_frames(content: Any) -> None:
    decoded = FeaturesModality().decode(content).values
    np.testing.assert_array_equal(decoded, CEPSTRA)
    assert decoded.dtype == np.float32


def objects() -> NDArray[Any]:
    return np.array([[1.0, "a"]], dtype=object)


def with_value(value: float) -> NDArray[np.float64]:
    changed = CEPSTRA.astype(np.float64)
    changed[4, 1] = value
    return changed


@pytest.mark.parametrize(
    ("media", "message"),
    [
        (npy(objects(), allow_pickle=True), "holds Python objects, which are never unpickled"),
        (npz(a=objects()), "holds Python objects, which are never unpickled"),
        (npz(mfcc=CEPSTRA, delta=CEPSTRA), "holds 2 arrays: mfcc, delta"),
        (CEPSTRA[0], r"has the shape \[3\]"),
        (CEPSTRA[None], r"has the shape \[1, 7, 3\]"),
        (CEPSTRA[:0], "has no frames"),
        (CEPSTRA[:, :0], "has no frames"),
        (CEPSTRA > 0, "holds values of type bool"),
        (with_value(np.nan), "holds nan at frame 4 of dim 1"),
        (with_value(1e300), r"holds 1e\+300 at frame 4 of dim 1"),
        ([[1.0], [2.0, 3.0]], "not an array"),
        (FeatureFrames(CEPSTRA[0]), "has the shape"),
    ],
)
def test_bad_arrays_are_refused(media: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        FeaturesModality().decode(media)


def test_another_archive_is_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "text")
    with pytest.raises(DataError, match="another zip archive"):
        FeaturesModality().decode(file.getvalue())


def test_an_archive_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = npz(zeros=np.zeros((4000, 64), np.float32))
    monkeypatch.setenv("MODRWKV_MAX_FILE_BYTES", "100000")
    assert len(content) < 100_000
    with pytest.raises(DataError, match="too large"):
        FeaturesModality().decode(content)
