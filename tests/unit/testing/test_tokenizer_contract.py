from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import pytest

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.config import TokenizerConfig
from modrwkv_core.interfaces.tokenizer import SpecialIds, Tokenizer
from modrwkv_core.plugin import ComponentSpec
from modrwkv_core.testing import TokenizerContract

Broken = Callable[[type[Any]], set[str]]


class ToyConfig(TokenizerConfig):
    type: Literal["toy"] = "toy"

    @property
    def vocab_size(self) -> int:
        return 263


class Toy(Tokenizer):
    special = SpecialIds(turn_start=257, turn_end=258, media_start=259, media_end=260, media_pad=261, query=262)

    def __init__(self, config: ToyConfig) -> None:
        self.vocab_size = config.vocab_size

    def encode(self, text: str) -> list[int]:
        try:
            return [byte + 1 for byte in text.encode()]
        except UnicodeEncodeError as error:
            raise DataError(str(error)) from error

    def decode(self, ids: Iterable[int]) -> bytes:
        return bytes(index - 1 for index in ids if index < 257)


class Larger(Toy):
    def __init__(self, config: ToyConfig) -> None:
        self.vocab_size = 300


class Lower(Toy):
    def encode(self, text: str) -> list[int]:
        return super().encode(text.lower())


class FromZero(Toy):
    def encode(self, text: str) -> list[int]:
        return [index - 1 for index in super().encode(text)]

    def decode(self, ids: Iterable[int]) -> bytes:
        return super().decode(index + 1 for index in ids)


class OneMarker(Toy):
    special = SpecialIds(turn_start=257, turn_end=257, media_start=259, media_end=260, media_pad=261, query=262)


class Visible(Toy):
    def decode(self, ids: Iterable[int]) -> bytes:
        return b"".join(b"<>" if index >= 257 else bytes([index - 1]) for index in ids)


class Forgeable(Toy):
    def encode(self, text: str) -> list[int]:
        ids = super().encode(text)
        return [*ids, 262] if "<query>" in text else ids


class Lossy(Toy):
    def encode(self, text: str) -> list[int]:
        return [byte + 1 for byte in text.encode(errors="replace")]


class Hooked(Toy):
    def __reduce__(self) -> Any:
        return Lower, (ToyConfig(),)


def contract(tokenizer: type[Toy]) -> type[TokenizerContract]:
    class Contract(TokenizerContract):
        plugin = __name__
        name = "toy"
        spec = ComponentSpec(  # type: ignore[assignment]
            api=1,
            kind="tokenizer",
            name="toy",
            summary="bytes",
            config=f"{__name__}:ToyConfig",
            implementation=f"{__name__}:{tokenizer.__name__}",
        )

    return Contract


@pytest.mark.parametrize(
    ("tokenizer", "failures"),
    [
        (Toy, set()),
        (Larger, {"vocabulary_is_that_of_the_configuration"}),
        (Lower, {"texts_survive"}),
        (FromZero, {"texts_survive"}),
        (OneMarker, {"special_ids_are_apart"}),
        (Visible, {"special_ids_are_apart"}),
        (Forgeable, {"no_text_forges_a_special_id"}),
        (Lossy, {"text_that_is_not_unicode_is_refused"}),
        (Hooked, {"loader_workers_encode_the_same"}),
    ],
)
def test_a_mistake_fails_its_check(broken: Broken, tokenizer: type[Toy], failures: set[str]) -> None:
    assert broken(contract(tokenizer)) == failures
