"""The Source interface: where records come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.interfaces.guard import Origin
from modrwkv_core.interfaces.record import Record

__all__ = ["Source"]

SourceConfigT = TypeVar("SourceConfigT", bound=SourceConfig)


class Source(ABC, Generic[SourceConfigT]):
    """Records in a fixed order with random access, so that training resumes exactly. Picklable.

    Media are left undecoded; loader workers decode them.

    Attributes:
        origin: Who provides it, for errors; the core sets it.
    """

    origin: Origin | None = None

    def __init__(self, config: SourceConfigT) -> None:
        self.config = config

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of records."""

    @abstractmethod
    def __getitem__(self, index: int) -> Record:
        """Return one record.

        Raises:
            DataError: The record is broken; the message names file and line.
        """
