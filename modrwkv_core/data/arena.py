"""One block of memory for all tensors and arrays of a batch: it travels between processes and to a device in one piece.

:func:`pack_arena` copies them into an arena and pickles what is left; :func:`unpack_arena` gives back the object, whose
tensors and arrays are views of the arena. In a loader worker the arena is a :class:`SharedArena`. Memory of
``memfd_create`` counts against no mount such as ``/dev/shm``, which containers keep small, and needs one file
descriptor for a whole batch.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["ArenaGoneError", "PackedObject", "SharedArena", "pack_arena", "unpack_arena"]

ALIGNMENT: Final = 64
"""Bytes; every dtype and every vector instruction can read where a tensor begins."""

Place: TypeAlias = tuple[int, int]
"""Where bytes lie in an arena: the first, and the end, exclusive."""


class ArenaGoneError(Exception):
    """The process that made shared memory is gone, or has let go of it."""


class SharedArena:
    """Memory that processes of one user share.

    A pickled arena names the memory and does not hold it: another process must open it while this object lives. A
    descriptor that is sent through a socket would live on, but a thread of the sender has to hand it over, and in a
    worker that decodes media it waits long for its turn.

    Args:
        size: Bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._descriptor = os.memfd_create("modrwkv-batch", os.MFD_CLOEXEC)
        os.ftruncate(self._descriptor, size)
        self._path = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        self._inode = os.fstat(self._descriptor).st_ino

    @classmethod
    def _of(cls, path: str, inode: int, size: int) -> Self:
        arena = cls.__new__(cls)
        arena._path, arena._inode, arena._size, arena._descriptor = path, inode, size, -1
        return arena

    def tensor(self) -> Tensor:
        """Return the memory, uint8; it lives as long as the tensor does.

        Raises:
            ArenaGoneError: The process that made it is gone, or has let go of it.
        """
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            except (FileNotFoundError, ProcessLookupError) as error:
                raise ArenaGoneError(f"{self._path} is gone") from error
            if os.fstat(self._descriptor).st_ino != self._inode:
                raise ArenaGoneError(f"{self._path} is another file by now")
        return torch.frombuffer(mmap.mmap(self._descriptor, self._size), dtype=torch.uint8)

    def __reduce__(self) -> tuple[Callable[..., SharedArena], tuple[str, int, int]]:
        return SharedArena._of, (self._path, self._inode, self._size)

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


@dataclass(frozen=True, slots=True)
class PackedObject:
    """An object without the bytes of its tensors and arrays.

    Attributes:
        pickled: The object.
        tensors: Where the tensors lie in the arena, with dtype and shape.
        arrays: Where the buffers of NumPy arrays lie.
    """

    pickled: bytes
    tensors: tuple[tuple[Place, torch.dtype, tuple[int, ...]], ...]
    arrays: tuple[Place, ...]


def pack_arena(content: object, allocate: Callable[[int], Tensor]) -> tuple[PackedObject, Tensor]:
    """Copy the tensors and arrays of ``content``, which must be picklable, into one arena.

    Args:
        content: What to pack. Its tensors lie on the CPU.
        allocate: Returns an arena, uint8, of a number of bytes from 1 on.
    """
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(content)
    pieces = [_bytes_of(tensor) for tensor in pickler.tensors]
    pieces += [np.frombuffer(buffer.raw(), dtype=np.uint8) for buffer in pickler.buffers]
    places: list[Place] = []
    end = 0
    for piece in pieces:
        begin = -(-end // ALIGNMENT) * ALIGNMENT
        end = begin + len(piece)
        places.append((begin, end))
    arena = allocate(max(1, end))
    memory = arena.numpy()
    for (begin, end), piece in zip(places, pieces, strict=True):
        memory[begin:end] = piece
    tensors = tuple(
        (place, tensor.dtype, tuple(tensor.shape)) for place, tensor in zip(places, pickler.tensors, strict=False)
    )
    return PackedObject(file.getvalue(), tensors, tuple(places[len(tensors) :])), arena


def unpack_arena(packed: PackedObject, arena: Tensor) -> Any:
    """Return the object; its tensors and arrays are views of ``arena``, in CPU memory."""
    file = io.BytesIO(packed.pickled)
    return _Unpickler(file, packed, arena).load()


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO) -> None:
        self.tensors: list[Tensor] = []
        self.buffers: list[pickle.PickleBuffer] = []
        super().__init__(file, protocol=5, buffer_callback=self.buffers.append)

    def persistent_id(self, obj: Any) -> int | None:
        if type(obj) is not Tensor or obj.layout != torch.strided:
            return None
        self.tensors.append(obj.detach())
        return len(self.tensors) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, packed: PackedObject, arena: Tensor) -> None:
        memory = arena.numpy()
        super().__init__(file, buffers=[memory[begin:end] for begin, end in packed.arrays])
        self._tensors, self._arena = packed.tensors, arena

    def persistent_load(self, pid: Any) -> Tensor:
        (begin, end), dtype, shape = self._tensors[pid]
        return self._arena[begin:end].view(dtype).view(shape)


def _bytes_of(tensor: Tensor) -> npt.NDArray[np.uint8]:
    found: npt.NDArray[np.uint8] = tensor.contiguous().flatten().view(torch.uint8).numpy()
    return found
