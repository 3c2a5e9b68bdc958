"""Formats of weight files: recognized by their first bytes, and checked before a library reads them.

Weight files come from strangers and from interrupted downloads. What a file asks for (objects, numbers of elements,
compressed data) is therefore checked first, with the standard library alone and in memory bounded by the file's size.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO, Final, Literal

from modrwkv_core.errors import CheckpointError

__all__ = ["AGAIN", "Format", "check_pickled", "format_of_file"]

Format = Literal["safetensors", "zip", "legacy"]
"""safetensors; the archive that ``torch.save`` writes; the bare pickles that it wrote before PyTorch 1.6."""

_LEGACY_MAGIC: Final = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")

_OTHERS: Final = {
    b"version https://git-lfs": ("a Git LFS pointer instead of the file itself", "fetch the file with `git lfs pull`"),
    b"GGUF": ("a GGUF file", "give the .pth or .safetensors file that it was made from"),
    b"\x93NUMPY": ("a NumPy array", "give a .pth or .safetensors file"),
    b"\x89HDF": ("an HDF5 file", "give a .pth or .safetensors file"),
    b"<": ("a web page or an XML file", "download the file again; the address gave a page instead of the file"),
}
"""What else is offered as weights, by its first bytes: what it is, and what to do."""

_GLOBALS: Final = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor|tensor_v2|tensor_v3|parameter)"
    r"|torch(\.storage)? \w+Storage|torch b?float\d\w*|torch u?int\d+|torch bool|torch complex\d+"
)
"""The names that a pickle of tensors refers to."""

_NUMBERS: Final = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")

AGAIN: Final = "the file is damaged or incomplete; fetch it again"


def format_of_file(path: Path) -> Format:
    """Recognize the format of a weight file.

    Raises:
        CheckpointError: It is missing or empty, or has another format, which the message names if it is known.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}", hint="check the path; nothing is downloaded")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}", hint="check the permissions of the file") from error
    if not start:
        raise CheckpointError(f"{path} is empty", hint=AGAIN)
    for magic, (what, hint) in _OTHERS.items():
        if start.startswith(magic):
            raise CheckpointError(f"{path} is {what}", hint=hint)
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if start.startswith(_LEGACY_MAGIC):
        return "legacy"
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return "safetensors"
    raise CheckpointError(
        f"{path} has an unknown format: it is neither safetensors nor a file of torch.save", hint=AGAIN
    )


def check_pickled(path: Path, form: Literal["zip", "legacy"], *, contents: bool) -> None:
    """Refuse a file of ``torch.save`` that is damaged, or asks for anything but tensors that it holds.

    Args:
        path: The file.
        form: Its format.
        contents: Whether to compare the checksums of the tensors, too, which reads the whole file.

    Raises:
        CheckpointError: The message says what is wrong.
    """
    try:
        if form == "zip":
            _check_archive(path, contents)
        else:
            with path.open("rb") as file:
                for part in range(5):  # magic number, protocol, system, tensors, keys of the storages
                    _check_pickle(file, path, _size(path) if part == 3 else None)
    except CheckpointError:
        raise
    except Exception as error:  # zipfile and pickletools raise whatever a damaged file leads them to
        raise CheckpointError(f"{path} cannot be read: {error}", hint=AGAIN) from error


def _check_archive(path: Path, contents: bool) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        pickles = [member for member in members if PurePosixPath(member.filename).name == "data.pkl"]
        if any(member.filename.endswith(".npy") for member in members):
            raise CheckpointError(f"{path} is an archive of NumPy arrays", hint="give a .pth or .safetensors file")
        if len(pickles) != 1:
            raise CheckpointError(
                f"{path} is an archive, but not one of torch.save with weights",
                hint="give the state dict: torch.save(model.state_dict(), path)",
            )
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise CheckpointError(
                f"{path} holds compressed tensors, which torch.save never writes",
                hint="load it with the program that wrote it, and save the state dict by torch.save",
            )
        if sum(member.file_size for member in members) > _size(path):
            raise CheckpointError(f"{path} claims more data than it holds", hint=AGAIN)
        damaged = archive.testzip() if contents else None
        if damaged is not None:
            raise CheckpointError(f"{path} is damaged: the checksum of {damaged} is wrong", hint=AGAIN)
        with archive.open(pickles[0]) as file:
            _check_pickle(file, path, _size(path))


def _check_pickle(file: IO[bytes], path: Path, largest: int | None) -> None:
    """Check one pickle up to its end: what it refers to, and that no number exceeds the bytes of the file."""
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL") and not _GLOBALS.fullmatch(str(argument)):
            raise CheckpointError(
                f"{path} holds more than tensors: {argument or 'objects of an unexpected pickle protocol'}",
                hint="save the weights alone: torch.save(model.state_dict(), path)",
            )
        if largest is not None and isinstance(argument, int) and opcode.name in _NUMBERS and abs(argument) > largest:
            raise CheckpointError(f"{path} claims {argument} elements, more than it holds", hint=AGAIN)


def _size(path: Path) -> int:
    return path.stat().st_size
