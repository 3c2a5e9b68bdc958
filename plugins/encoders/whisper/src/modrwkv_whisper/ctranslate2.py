"""Weight files of CTranslate2: what they hold, and their tensors. Imports torch only to read tensors.

The format: a version, the name and the revision of the model's specification, then all variables by name, then aliases,
names of variables that equal another one. All numbers are little-endian, and strings end with a zero byte.

Source: ``python/ctranslate2/specs/model_spec.py`` and ``src/models/model.cc`` of github.com/OpenNMT/CTranslate2.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from modrwkv_core.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CTranslate2File", "Variable"]

AGAIN: Final = "the file is damaged or incomplete; fetch it again"

VERSIONS: Final = (4, 5, 6)
"""Versions of the format that hold what is described above; former ones do not tell integers from float16."""

DTYPES: Final = (("float32", 4), ("int8", 1), ("int16", 2), ("int32", 4), ("float16", 2), ("bfloat16", 2))
"""Name in torch and bytes of an element, by number in the file."""

GIT_LFS: Final = b"version https://git-lfs"


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a file: its dtype by torch's name, its shape, and where its bytes begin and end."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class CTranslate2File:
    """The weight file of a model in CTranslate2's format. Only its directory is read until tensors are asked for.

    Attributes:
        path: The file.
        specification: Name of the model's specification, such as ``WhisperSpec``.
        revision: Its revision.
        variables: All variables by name, aliases among them.

    Raises:
        CheckpointError: The file is missing, damaged or of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                directory = _Directory(file, path, size)
                self.specification, self.revision = directory.read_model()
                self.variables: Mapping[str, Variable] = directory.read_variables()
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error}", hint="check the path and permissions") from error

    def read(self, name: str) -> Tensor:
        """Return a variable, on the CPU. Quantized weights become float32, by the scales beside them.

        CTranslate2 multiplies weights by their scale before it rounds them to integers. int8 has a scale for each row,
        int16 has one for the whole weight.

        Raises:
            CheckpointError: There is no such variable, or its scale is missing or does not fit it.
        """
        import torch

        values = self._stored(name)
        if values.dtype not in (torch.int8, torch.int16) or not values.shape:
            return values
        scale_name = f"{name}_scale"
        scale = self._stored(scale_name)
        expected = values.shape[:1] if values.dtype == torch.int8 else torch.Size()
        if scale.shape != expected or scale.dtype != torch.float32:
            raise self._damaged(
                f"{scale_name} is {scale.dtype} {list(scale.shape)} instead of float32 {list(expected)}"
            )
        if not (scale.isfinite() & (scale > 0)).all():
            raise self._damaged(f"{scale_name} holds a scale that is not positive and finite")
        # The reciprocal first, as in CTranslate2, whose numbers these are to the last bit.
        return values.float() * scale.reciprocal().reshape(-1, *(1,) * (values.dim() - 1))

    def _stored(self, name: str) -> Tensor:
        import torch

        variable = self.variables.get(name)
        if variable is None:
            raise self._damaged(f"there is no {name}")
        with self.path.open("rb") as file:
            file.seek(variable.start)
            content = bytearray(file.read(variable.end - variable.start))
        if len(content) != variable.end - variable.start:
            raise self._damaged(f"it ends inside {name}")
        return torch.frombuffer(content, dtype=getattr(torch, variable.dtype)).reshape(variable.shape)

    def _damaged(self, reason: str) -> CheckpointError:
        return CheckpointError(f"{self.path} cannot be used: {reason}", hint=AGAIN)


class _Directory:
    """Reads a file from its beginning to its end, and skips the variables' bytes."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self.file, self.path, self.size = file, path, size

    def read_model(self) -> tuple[str, int]:
        start = self.file.read(len(GIT_LFS))
        if start == GIT_LFS:
            raise CheckpointError(
                f"{self.path} is a Git LFS pointer instead of the file itself", hint="fetch it with `git lfs pull`"
            )
        self.file.seek(0)
        version = self.number("I", "the version")
        if version not in VERSIONS:
            raise CheckpointError(
                f"{self.path} is not a CTranslate2 file of version {VERSIONS[0]} to {VERSIONS[-1]}: its version is "
                f"{version}",
                hint="convert the model again with a current ct2-transformers-converter, or fetch the file again",
            )
        return self.string("the specification's name"), self.number("I", "the revision")

    def read_variables(self) -> dict[str, Variable]:
        variables: dict[str, Variable] = {}
        for index in range(self.number("I", "the number of variables")):
            name = self.new_name(f"the name of variable {index}", variables)
            variables[name] = self.variable(name)
        originals = dict(variables)
        for index in range(self.number("I", "the number of aliases")):
            alias = self.new_name(f"the name of alias {index}", variables)
            name = self.string(f"the variable of {alias}")
            if name not in originals:
                raise self.damaged(f"{alias} is an alias of {name}, which does not exist")
            variables[alias] = originals[name]
            if f"{name}_scale" in originals:
                variables.setdefault(f"{alias}_scale", originals[f"{name}_scale"])
        if self.file.tell() != self.size:
            raise self.damaged(f"{self.size - self.file.tell()} bytes follow the last alias")
        return variables

    def variable(self, name: str) -> Variable:
        shape = tuple(self.number("I", f"the shape of {name}") for _ in range(self.number("B", f"the rank of {name}")))
        number = self.number("B", f"the dtype of {name}")
        if number >= len(DTYPES):
            raise self.damaged(f"{name} has dtype {number}, which is unknown")
        dtype, item_size = DTYPES[number]
        length = self.number("I", f"the size of {name}")
        if 0 in shape or length != item_size * math.prod(shape):
            raise self.damaged(f"{name} has {length} bytes, which is not {dtype} of shape {list(shape)}")
        start = self.file.tell()
        if start + length > self.size:
            raise self.damaged(f"it ends inside {name}, {start + length - self.size} bytes too early")
        self.file.seek(length, 1)
        return Variable(dtype, shape, start, start + length)

    def new_name(self, what: str, variables: Mapping[str, Variable]) -> str:
        name = self.string(what)
        if name in variables:
            raise self.damaged(f"it holds {name} twice")
        return name

    def string(self, what: str) -> str:
        content = self.content(self.number("H", what), what)
        name = content[:-1].decode("utf-8", errors="replace")
        if content[-1:] != b"\0" or not name.isprintable() or not name or "\N{REPLACEMENT CHARACTER}" in name:
            raise self.damaged(f"{what} is not text")
        return name

    def number(self, form: str, what: str) -> int:
        value: int = struct.unpack(f"<{form}", self.content(struct.calcsize(f"<{form}"), what))[0]
        return value

    def content(self, length: int, what: str) -> bytes:
        content = self.file.read(length)
        if len(content) != length:
            raise self.damaged(f"it ends at byte {self.size}, inside {what}")
        return content

    def damaged(self, reason: str) -> CheckpointError:
        return CheckpointError(f"{self.path} cannot be used: {reason}", hint=AGAIN)
