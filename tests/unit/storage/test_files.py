"""Files appear whole or not at all, and never through somebody else's link."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modrwkv_core.errors import WriteError
from modrwkv_core.storage.files import append_line, atomic_folder, atomic_write, temporary_name, write_json, write_text


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the operating system refuse larger files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_text_replaces_a_former_file_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.txt"
    write_text(path, "one")
    write_text(path, "zwei: ü")
    assert path.read_text(encoding="utf-8") == "zwei: ü"
    write_json(path, {"a": [1]})
    assert path.read_text() == '{\n  "a": [\n    1\n  ]\n}\n'
    assert names(path.parent) == ["a.txt"]


def test_a_full_disk_keeps_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "former")
    with largest_file(1000), pytest.raises(WriteError, match=r"cannot write .*a\.txt: File too large"):
        write_text(path, "x" * 100_000)
    assert path.read_text() == "former"
    assert names(tmp_path) == ["a.txt"]


def test_an_error_of_the_writer_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(WriteError), atomic_write(tmp_path / "a.txt") as temporary:
        temporary.touch(exist_ok=False)
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "a") as folder:
        (folder / "half").write_text(str(1 / 0))
    assert names(tmp_path) == []


def test_a_link_is_replaced_and_never_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep")
    link = tmp_path / "report.html"
    link.symlink_to(precious)
    write_text(link, "new")
    assert (precious.read_text(), link.read_text(), link.is_symlink()) == ("keep", "new", False)
    link.unlink()
    link.symlink_to(precious)
    with pytest.raises(WriteError, match="symbolic link"):
        append_line(link, "line")
    assert precious.read_text() == "keep"


def test_temporary_files_have_unpredictable_names_and_ordinary_permissions(tmp_path: Path) -> None:
    assert temporary_name() != temporary_name()
    mask = os.umask(0o022)
    try:
        with atomic_write(tmp_path / "a.txt") as temporary:
            assert temporary.parent == tmp_path
    finally:
        os.umask(mask)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


def test_devices_folders_and_taken_names_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(WriteError, match="not a regular file"):
            write_text(path, "text")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(WriteError, match="already exists"), atomic_folder(tmp_path):
        pass


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"
    with atomic_folder(target) as folder:
        write_text(folder / "a", "a")
        assert not target.exists()
    assert names(target) == ["a"]
    with (
        largest_file(10),
        pytest.raises(WriteError, match=r"cannot write .*new/second: File too large"),
        atomic_folder(tmp_path / "new" / "second") as folder,
    ):
        write_text(folder / "a", "a" * 100)
    assert names(tmp_path / "new") == ["folder"]


def test_lines_are_appended_and_a_full_disk_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, "one")
    append_line(path, "two")
    assert path.read_text() == "one\ntwo\n"
    with largest_file(10), pytest.raises(WriteError, match=r"cannot write .*lines"):
        append_line(path, "three" * 10)
    assert path.read_text() == "one\ntwo\n"
    with pytest.raises(WriteError, match=r"cannot write .*No such file or directory"):
        append_line(tmp_path / "absent" / "lines", "one")
