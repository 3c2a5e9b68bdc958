"""What components give is held against their configurations, and values are looked at once in a phase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from modrwkv_core.errors import ComponentError, PluginError
from modrwkv_core.interfaces.component import Adapter, Encoder
from modrwkv_core.interfaces.config import AdapterConfig, EncoderConfig
from modrwkv_core.interfaces.guard import Origin
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_core.model.embedder import MediaEmbedder

NAN = float("nan")


class EyeConfig(EncoderConfig):
    type: Literal["eye"] = "eye"

    @property
    def out_dim(self) -> int:
        return 4

    def out_length(self, length: int) -> int:
        return length


class Eye(Encoder[EyeConfig]):
    answer: Any = None

    def forward(self, items: Sequence[MediaItem]) -> Features:
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is not None:
            return self.answer  # type: ignore[no-any-return]
        return Features(torch.ones(len(items), 3, 4), torch.tensor([item.length for item in items]))


class GlueConfig(AdapterConfig):
    type: Literal["glue"] = "glue"


class Glue(Adapter[GlueConfig]):
    def forward(self, features: Features) -> Features:
        return features


def features(values: Tensor, lengths: Any = (2, 3)) -> Features:
    return Features(values, lengths if isinstance(lengths, Tensor) else torch.tensor(lengths))


@pytest.fixture
def embedder() -> MediaEmbedder:
    eye = Eye(EyeConfig())
    eye.origin = Origin("encoder/eye", "fake-eye")
    return MediaEmbedder(eye, None, Glue(GlueConfig(), 4, 4))


def embed(embedder: MediaEmbedder, answer: Any = None) -> Features:
    embedder.encoder.answer = answer  # type: ignore[assignment]
    return embedder([MediaItem({}, 2), MediaItem({}, 3)])  # type: ignore[no-any-return]


def holding(value: float, position: int = 0) -> Features:
    values = torch.ones(2, 3, 4)
    values[0, position, 0] = value
    return features(values)


def test_good_features_pass(embedder: MediaEmbedder) -> None:
    assert embed(embedder).lengths.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (torch.ones(2, 3, 4), "returned Tensor, it must return Features"),
        (features(torch.ones(2, 3, 8)), r"gave values \[2, 3, 8\], its configuration says \[2, longest, 4\]"),
        (features(torch.ones(1, 3, 4)), r"says \[2, longest, 4\]"),
        (features(torch.ones(2, 3)), r"gave values \[2, 3\]"),
        (features(torch.ones(2, 2, 4)), r"gave values for 2 vectors an item, but lengths \[2, 3\]"),
        (features(torch.ones(2, 3, 4), [3, 3]), r"gave lengths \[3, 3\], out_length\(\) says \[2, 3\]"),
        (features(torch.ones(2, 3, 4), torch.tensor([2.0, 3.0])), "not an int64 tensor"),
        (holding(NAN), "not finite"),
        (holding(float("inf")), "not finite"),
    ],
)
def test_other_features_name_the_component(embedder: MediaEmbedder, answer: Any, words: str) -> None:
    with pytest.raises(ComponentError, match=words) as raised:
        embed(embedder, answer)
    assert (raised.value.component, raised.value.distribution) == ("encoder/eye", "fake-eye")


def test_what_the_encoder_raises_names_it(embedder: MediaEmbedder) -> None:
    with pytest.raises(PluginError, match="SystemExit") as raised:
        embed(embedder, SystemExit(0))
    assert raised.value.component == "encoder/eye"


def test_padding_is_nobodys_concern(embedder: MediaEmbedder) -> None:
    embed(embedder, holding(NAN, position=2))


def test_values_are_looked_at_once_in_a_phase_and_always_in_evaluation(embedder: MediaEmbedder) -> None:
    embedder.train()
    embed(embedder)
    embed(embedder, holding(NAN))
    embedder.train()
    with pytest.raises(ComponentError, match="not finite"):
        embed(embedder, holding(NAN))
    embedder.eval()
    embed(embedder)
    with pytest.raises(ComponentError, match="not finite"):
        embed(embedder, holding(NAN))
