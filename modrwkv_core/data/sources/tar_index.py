"""Random access to the samples of WebDataset shards, without unpacking them."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from itertools import groupby, product
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modrwkv_core.errors import DataError
from modrwkv_core.readers.files import byte_limit, cache_folder
from modrwkv_core.storage.files import atomic_write

__all__ = ["TarSamples", "expand_shards", "split_name"]

Member: TypeAlias = tuple[str, bytes]

_NAME: Final = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_RANGE: Final = re.compile(r"(\d+)\.\.(\d+)")
_BLOCK: Final = 512
_COMPRESSED: Final = {
    b"\x1f\x8b": "gzip -d",
    b"BZh": "bzip2 -d",
    b"\xfd7zXZ": "xz -d",
    b"\x28\xb5\x2f\xfd": "zstd -d",
}
_AGAIN: Final = "copy or write it anew"


def split_name(name: str) -> tuple[str, str] | None:
    """Split the name of a member into its sample's key and its ending: all after the first dot of the file's name.

    Returns:
        Key and ending, the latter in lower case; None for a file without an ending, and for one whose name begins with
        a dot or ``__``, which no sample has.
    """
    found = _NAME.fullmatch(name)
    if found is None or found[1].rpartition("/")[2].startswith("__"):
        return None
    return found[1], found[2].lower()


def expand_shards(path: Path) -> list[Path]:
    """List the shards that ``path`` names: a file, a folder, or a pattern with ``{000..123}``, ``{a,b}`` or ``*``.

    Raises:
        DataError: There are none, or one is missing.
    """
    if path.is_dir():
        shards = sorted(path.glob("*.tar"))
    elif path.exists():
        shards = [path]
    else:
        shards = [shard for each in _expand_braces(str(path)) for shard in _expand_stars(Path(each))]
    if not shards:
        raise DataError(f"{path} names no shards", hint="relative paths are resolved against `data_root`")
    if len(set(shards)) < len(shards):
        raise DataError(f"{path} names a shard twice", hint="correct the pattern")
    return shards


def _expand_braces(pattern: str) -> Iterator[str]:
    texts = _BRACES.split(pattern)
    choices = []
    for choice in texts[1::2]:
        found = _RANGE.fullmatch(choice)
        if found is None:
            choices.append(choice.split(","))
        else:
            numbers = range(int(found[1]), int(found[2]) + 1)
            choices.append([str(number).zfill(len(found[1])) for number in numbers])
    for chosen in product(*choices):
        yield "".join(text + choice for text, choice in zip(texts[::2], [*chosen, ""], strict=True))


def _expand_stars(path: Path) -> list[Path]:
    return sorted(path.parent.glob(path.name)) if "*" in path.name else [path]


class TarSamples:
    """The samples of tar files: neighboring members of one key. Picklable.

    Only the place of each sample stays in memory, 8 bytes. Places are found once and kept in the user's cache, as long
    as a shard's size and time of change are the same.

    Args:
        shards: The files.

    Raises:
        DataError: A shard is missing, compressed, truncated or no tar file; or members of one sample lie apart.
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        self._shards = list(shards)
        self._begins = list(map(_indexed, self._shards))
        self._first = np.cumsum([0, *(len(begins) - 1 for begins in self._begins)])

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, index: int) -> tuple[Path, list[Member]]:
        """Return a sample's shard, and the names and contents of its members."""
        shard = int(np.searchsorted(self._first, index, side="right")) - 1
        path, begins = self._shards[shard], self._begins[shard]
        within = index - int(self._first[shard])
        begin, end = int(begins[within]), int(begins[within + 1])
        if end - begin > byte_limit():
            raise DataError(f"{path}: the sample at byte {begin:,} is too large: {end - begin:,} bytes")
        try:
            with path.open("rb") as file:
                file.seek(begin)
                content = io.BytesIO(file.read(end - begin))
            if content.getbuffer().nbytes < end - begin:
                raise tarfile.ReadError("unexpected end of data")
            return path, list(_members(content))
        except (OSError, tarfile.TarError) as error:
            raise DataError(f"{path}: cannot read the sample at byte {begin:,}: {error}", hint=_AGAIN) from error


def _members(content: BinaryIO) -> Iterator[Member]:
    with tarfile.open(fileobj=content, mode="r:") as archive:
        for member in archive:
            if not member.isdir() and split_name(member.name) is not None:
                file = archive.extractfile(member)
                assert file is not None, "the index refused all but files and folders"
                yield member.name, file.read()


def _indexed(path: Path) -> NDArray[np.uint64]:
    """Return where each sample of a shard begins, and where the last one ends."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}", hint="relative paths are resolved against `data_root`"
        ) from error
    version = f"1 {path.resolve()} {status.st_size} {status.st_mtime_ns}"
    cached = cache_folder() / "tar_index" / f"{hashlib.sha256(version.encode()).hexdigest()}.npy"
    if cached.is_file():
        try:
            begins: NDArray[np.uint64] = np.load(cached, allow_pickle=False)
        except (ValueError, OSError, EOFError):  # damaged: found anew
            pass
        else:
            return begins
    begins = _find_samples(path)
    with atomic_write(cached) as temporary, temporary.open("wb") as file:
        np.save(file, begins)
    return begins


def _find_samples(path: Path) -> NDArray[np.uint64]:
    try:
        with path.open("rb") as file:
            start = file.read(6)
            for magic, command in _COMPRESSED.items():
                if start.startswith(magic):
                    raise DataError(
                        f"{path} is compressed: its samples cannot be read one by one",
                        hint=f"decompress it first: {command}",
                    )
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                begins = _sample_begins(path, archive)
                end = archive.offset
            _check_end(path, file, end)
            return np.array([*begins, end], dtype=np.uint64)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path} is not a tar file, or a truncated one: {error}", hint=_AGAIN) from error


def _sample_begins(path: Path, archive: tarfile.TarFile) -> list[int]:
    begins, seen = [], set()
    files = ((split, member) for member in _checked(path, archive) if (split := split_name(member.name)) is not None)
    for key, group in groupby(files, key=lambda file: file[0][0]):
        if key in seen:
            raise DataError(f"{path}: files of the sample {key} lie apart", hint="write it anew, with tar --sort=name")
        seen.add(key)
        begins.append(next(group)[1].offset)
    if not begins:
        raise DataError(f"{path} holds no samples", hint="files of a sample have one name and several endings")
    return begins


def _checked(path: Path, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every one that it has read
        if member.isreg():
            yield member
        elif not member.isdir():
            raise DataError(
                f"{path}: {member.name} is a link or a device", hint="write it anew, with tar --dereference"
            )


def _check_end(path: Path, file: BinaryIO, end: int) -> None:
    """Refuse a file that ends without the mark of the end, or goes on after it."""
    file.seek(end)
    rest = file.read(_BLOCK)
    if len(rest) < _BLOCK:
        raise DataError(f"{path} is truncated: it has no mark of its end", hint=_AGAIN)
    if rest.strip(b"\0"):
        raise DataError(f"{path} is damaged at byte {end:,}", hint=_AGAIN)
    while rest:
        if rest.strip(b"\0"):
            raise DataError(f"{path}: more follows the end of the archive", hint="give each archive a file of its own")
        rest = file.read(2**20)
