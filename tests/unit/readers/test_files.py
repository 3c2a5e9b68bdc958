from __future__ import annotations

from pathlib import Path

import pytest

from modrwkv_core.errors import DataError
from modrwkv_core.readers.files import limit_from_environment, read_media


def test_large_files_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enormous = tmp_path / "enormous.wav"
    with enormous.open("wb") as file:
        file.truncate(2**31 + 1)  # takes no space
    with pytest.raises(DataError, match=r"enormous\.wav is too large: 2,147,483,649 bytes") as caught:
        read_media(enormous)
    assert "MODRWKV_MAX_FILE_BYTES" in str(caught.value)
    (tmp_path / "small.wav").write_bytes(b"12345")
    monkeypatch.setenv("MODRWKV_MAX_FILE_BYTES", "5")
    assert read_media(tmp_path / "small.wav")[0] == b"12345"
    monkeypatch.setenv("MODRWKV_MAX_FILE_BYTES", "4")
    with pytest.raises(DataError, match=r"small\.wav is too large: 5 bytes, the limit is 4"):
        read_media(tmp_path / "small.wav")


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "1e9"])
def test_limits_are_whole_numbers_above_zero(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert limit_from_environment("MODRWKV_SOME_LIMIT", 7) == 7
    monkeypatch.setenv("MODRWKV_SOME_LIMIT", text)
    with pytest.raises(DataError, match=r"MODRWKV_SOME_LIMIT is .*not a whole number above 0"):
        limit_from_environment("MODRWKV_SOME_LIMIT", 7)
