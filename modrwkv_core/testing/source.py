"""The contract of data sources."""

from __future__ import annotations

import pickle
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.interfaces.record import Media, Record, Role, Target, Text
from modrwkv_core.interfaces.source import Source
from modrwkv_core.manifest.unions import Components
from modrwkv_core.testing.registration import ComponentContract, installed, load

__all__ = ["SourceContract"]


class SourceContract(ComponentContract):
    """A data source; a subclass sets ``plugin``, ``name`` and ``configs`` and writes the files that these name.

    Relative paths in ``configs`` are resolved against the folder that :meth:`write` fills.
    """

    kind: ClassVar = "source"
    config_base: ClassVar = SourceConfig
    interface: ClassVar = Source

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write small data, of at least two records, for all of ``configs``; nothing if the source needs no files."""

    def source(self, settings: Mapping[str, Any], folder: Path) -> Source[Any]:
        """Open the source on the files in ``folder``."""
        context = {"components": Components(installed()), "data_root": folder, "folder": folder}
        config = load(self.spec.config).model_validate(dict(settings), context=context)
        source: Source[Any] = load(self.spec.implementation)(config)
        return source

    def written(self, settings: Mapping[str, Any], folder: Path) -> Source[Any]:
        """Write the files and open the source on them."""
        self.write(folder)
        source = self.source(settings, folder)
        assert len(source) > 1, f"{type(self).__name__}.write must give two records or more, not {len(source)}"
        return source

    def test_records_are_conversations(self, settings: Mapping[str, Any], tmp_path: Path) -> None:
        """Records are turns of known roles and parts, and the assistant's turn, which is learned, is the last.

        Remedy: build records of ``Turn``, ``Text``, ``Media`` and ``Target``, and end them with the true answer.
        """
        source = self.written(settings, tmp_path)
        for index in range(len(source)):
            record = source[index]
            assert isinstance(record, Record), f"{self.name}[{index}] is a {type(record).__name__}, not a Record"
            assert record.turns, f"{record.key} has no turns"
            for turn in record.turns:
                assert turn.role in get_args(Role), f"{record.key} has a turn of {turn.role!r}"
                strange = [part for part in turn.parts if not isinstance(part, Text | Media | Target)]
                assert not strange, f"{record.key} has a part of the type {type(strange[0]).__name__}"
            assert record.turns[-1].role == "assistant", f"{record.key} ends with a turn of the {record.turns[-1].role}"

    def test_keys_tell_records_apart(self, settings: Mapping[str, Any], tmp_path: Path) -> None:
        """Errors name a record by its key, so each has one of its own.

        Remedy: use file and line, or whatever finds the record again.
        """
        source = self.written(settings, tmp_path)
        keys = [source[index].key for index in range(len(source))]
        assert all(keys), f"records of {self.name} without a key"
        twice = sorted({key for key in keys if keys.count(key) > 1})
        assert not twice, f"several records of {self.name} have the key {twice[0]!r}"

    def test_order_is_fixed(self, settings: Mapping[str, Any], tmp_path: Path) -> None:
        """A record is the same whenever it is asked for, in any order, also of a source that is opened again.

        Remedy: draw nothing at random in ``__getitem__`` but from a generator that the index seeds.
        """
        source = self.written(settings, tmp_path)
        records = [_plain(source[index]) for index in range(len(source))]
        backward = [_plain(source[index]) for index in reversed(range(len(source)))][::-1]
        assert backward == records, f"{self.name} gives other records when they are asked for in another order"
        again = self.source(settings, tmp_path)
        assert [_plain(again[index]) for index in range(len(again))] == records, f"{self.name}, opened again, differs"

    def test_loader_workers_read_the_same(self, settings: Mapping[str, Any], tmp_path: Path) -> None:
        """A pickled copy, as loader workers get it, gives the same records.

        Remedy: keep open files and locks out of the attributes, or open them when they are needed.
        """
        source = self.written(settings, tmp_path)
        copy = pickle.loads(pickle.dumps(source))
        assert len(copy) == len(source), f"a pickled {self.name} has {len(copy)} records, not {len(source)}"
        for index in range(len(source)):
            assert _plain(copy[index]) == _plain(source[index]), f"a pickled {self.name} gives another record {index}"

    def test_missing_data_are_refused(self, settings: Mapping[str, Any], tmp_path: Path) -> None:
        """Files that are not there are a ``DataError``, when the source is opened or a record is read.

        Remedy: turn what reading raises into a ``DataError`` that names the file.
        """
        full, empty = tmp_path / "full", tmp_path / "empty"
        full.mkdir()
        empty.mkdir()
        self.write(full)
        if not any(full.iterdir()):
            return
        try:
            source = self.source(settings, empty)
            records: Sequence[Record] = [source[index] for index in range(len(source))]
        except DataError:
            return
        raise AssertionError(f"{self.name} opens files that are not there and gives {len(records)} records")


def _plain(value: Any) -> Any:
    """Return what can be compared, whatever a record holds."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if is_dataclass(value):
        return type(value).__name__, *(_plain(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value
