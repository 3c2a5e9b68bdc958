from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.interfaces.paths import DataPath
from modrwkv_core.interfaces.record import Record, Text, Turn
from modrwkv_core.interfaces.source import Source
from modrwkv_core.plugin import ComponentSpec
from modrwkv_core.testing import SourceContract

Broken = Callable[[type[Any]], set[str]]


class LinesConfig(SourceConfig):
    source: Literal["lines"] = "lines"

    path: DataPath
    """A text file."""


class Lines(Source[LinesConfig]):
    """Each line is an answer."""

    def __init__(self, config: LinesConfig) -> None:
        super().__init__(config)
        try:
            self.lines = config.path.read_text().splitlines()
        except OSError as error:
            raise DataError(f"{config.path}: {error}") from error

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> Record:
        turns = (Turn("user", (Text("?"),)), Turn("assistant", (Text(self.lines[index]),)))
        return Record(f"{self.config.path}:{index + 1}", turns)


class Keyless(Lines):
    def __getitem__(self, index: int) -> Record:
        return Record("lines", super().__getitem__(index).turns)


class Unanswered(Lines):
    def __getitem__(self, index: int) -> Record:
        record = super().__getitem__(index)
        return Record(record.key, record.turns[:1])


class Wordy(Lines):
    def __getitem__(self, index: int) -> Record:
        record = super().__getitem__(index)
        return Record(record.key, (Turn("user", ("?",)), record.turns[1]))  # type: ignore[arg-type]


class Drawing(Lines):
    def __getitem__(self, index: int) -> Record:
        return Record(f"{index}", (Turn("assistant", (Text(str(random.random())),)),))


class Locked(Lines):
    def __init__(self, config: LinesConfig) -> None:
        super().__init__(config)
        self.lock = threading.Lock()


class Trusting(Lines):
    def __init__(self, config: LinesConfig) -> None:
        Source.__init__(self, config)
        self.lines = config.path.read_text().splitlines() if config.path.exists() else []


def contract(source: type[Lines]) -> type[SourceContract]:
    class Contract(SourceContract):
        plugin = __name__
        name = "lines"
        configs = ({"path": "lines.txt"},)
        spec = ComponentSpec(  # type: ignore[assignment]
            api=1,
            kind="source",
            name="lines",
            summary="lines",
            config=f"{__name__}:LinesConfig",
            implementation=f"{__name__}:{source.__name__}",
        )

        def write(self, folder: Path) -> None:
            (folder / "lines.txt").write_text("a\nb\nc\n")

    return Contract


@pytest.mark.parametrize(
    ("source", "failure"),
    [
        (Keyless, "test_keys_tell_records_apart"),
        (Unanswered, "test_records_are_conversations"),
        (Wordy, "test_records_are_conversations"),
        (Drawing, "test_order_is_fixed"),
        (Trusting, "test_missing_data_are_refused"),
    ],
)
def test_a_mistake_fails_its_check(tmp_path: Path, source: type[Lines], failure: str) -> None:
    checked = contract(source)
    with pytest.raises(AssertionError):
        getattr(checked(), failure)(checked.configs[0], tmp_path)


def test_a_right_source_keeps_the_contract(tmp_path: Path) -> None:
    checked = contract(Lines)
    for index, name in enumerate(name for name in dir(checked) if name.startswith("test_")):
        check = getattr(checked(), name)
        wanted = check.__func__.__code__.co_varnames[: check.__func__.__code__.co_argcount]
        if name in ("test_entry_point_leads_to_the_plugin", "test_entry_module_is_light"):
            continue
        folder = tmp_path / str(index)
        folder.mkdir()
        given = {"settings": checked.configs[0], "tmp_path": folder}
        if name != "test_configuration_never_loads_torch":  # this module, unlike a plugin's, does
            check(**{key: value for key, value in given.items() if key in wanted})


def test_what_does_not_pickle_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="pickle"):
        contract(Locked)().test_loader_workers_read_the_same({"path": "lines.txt"}, tmp_path)
