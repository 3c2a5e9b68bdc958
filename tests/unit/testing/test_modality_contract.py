from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.modality import Modality
from modrwkv_core.interfaces.signals import TimeSeries
from modrwkv_core.plugin import ModalitySpec
from modrwkv_core.testing import ModalityContract


class Toy(Modality[TimeSeries]):
    """Reads each byte as a point."""

    def decode(self, media: Any) -> TimeSeries:
        if isinstance(media, TimeSeries):
            return media
        if isinstance(media, Path):
            try:
                content = media.read_bytes()
            except OSError as error:
                raise DataError(f"cannot read {media}") from error
        else:
            content = media
        if not content or max(content) > 127:
            raise DataError(f"{media} is empty or no ASCII")
        return TimeSeries(np.frombuffer(content, np.uint8).astype(np.float32)[:, None])


class Nameless(Toy):
    def decode(self, media: Any) -> TimeSeries:
        try:
            return super().decode(media)
        except DataError:
            raise DataError("something is wrong") from None


class Accepting(Toy):
    def decode(self, media: Any) -> TimeSeries:
        try:
            return super().decode(media)
        except DataError:
            return TimeSeries(np.zeros((1, 1), np.float32))


class Doubling(Toy):
    def decode(self, media: Any) -> TimeSeries:
        return TimeSeries(super().decode(media).values * 2)


class Unrepeatable(Toy):
    def __init__(self) -> None:
        self.offset = 0.0

    def __getstate__(self) -> dict[str, float]:
        return {"offset": 1.0}

    def decode(self, media: Any) -> TimeSeries:
        return media if isinstance(media, TimeSeries) else TimeSeries(super().decode(media).values + self.offset)


class Contract(ModalityContract):
    plugin = __name__
    name = "toy"
    implementation: type[Any] = Toy
    suffixes: tuple[str, ...] = (".toy",)

    @property
    def spec(self) -> ModalitySpec:
        implementation = f"{__name__}:{self.implementation.__name__}"
        return ModalitySpec(api=1, name="toy", summary="bytes", implementation=implementation, suffixes=self.suffixes)

    def media(self, folder: Path) -> list[Any]:
        (folder / "good.toy").write_bytes(b"abc")
        return [folder / "good.toy", b"abc"]

    def bad_media(self, folder: Path) -> list[Any]:
        return [b"\xff"]


def changed(**changes: Any) -> Contract:
    made: Contract = type("Changed", (Contract,), changes)()
    return made


def test_a_modality_that_keeps_the_contract_passes(tmp_path: Path) -> None:
    Contract().test_record_leads_to_the_class()
    Contract().test_media_decode_to_signals(tmp_path)
    Contract().test_bad_media_are_refused(tmp_path)


@pytest.mark.parametrize(("kind", "message"), [(Nameless, "does not name empty.toy"), (Accepting, "decodes bad media")])
def test_errors_that_help_nobody_are_found_out(tmp_path: Path, kind: type[Toy], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        changed(implementation=kind).test_bad_media_are_refused(tmp_path)


@pytest.mark.parametrize(
    ("kind", "message"), [(Doubling, "changes its own signal"), (Unrepeatable, "decodes .* differently")]
)
def test_signals_that_change_are_found_out(tmp_path: Path, kind: type[Toy], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        changed(implementation=kind).test_media_decode_to_signals(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"suffixes": ("toy",)}, "need a dot"),
        ({"suffixes": (".TOY",)}, "lower case"),
        ({"implementation": TimeSeries}, "not a Modality"),
    ],
)
def test_a_wrong_record_is_found_out(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        changed(**changes).test_record_leads_to_the_class()
