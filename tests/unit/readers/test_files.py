from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.modality import decode_base64
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


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A device or pipe may never end."""
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(DataError, match="is not a regular file"):
            read_media(path)
    for path, message in (("a\0b", "NUL byte"), ("~nobody-here/x.png", "no home folder"), ("a" * 300, "too long")):
        with pytest.raises(DataError, match=message):
            read_media(path)
    with pytest.raises(DataError, match="is on the web"):
        read_media(Path("https://example.org/a.png"))


@given(st.binary())
def test_base64_is_read_or_refused(content: bytes) -> None:
    text = base64.b64encode(content).decode()
    assert decode_base64(text[:3] + "\n" + text[3:]) == content
    for wrong in (text + "?", text + "\u00e4", (text or "AAAA")[:-1]):
        with pytest.raises(DataError, match="not base64"):
            decode_base64(wrong)
