from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Encoder, Processor
from modrwkv_core.interfaces.config import EncoderConfig
from modrwkv_core.interfaces.signals import Series
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_core.plugin import ComponentSpec
from modrwkv_core.testing import EncoderContract

Broken = Callable[[type[Any]], set[str]]


class ToyConfig(EncoderConfig):
    type: Literal["toy"] = "toy"

    dim: int = 6
    """Width."""

    @property
    def out_dim(self) -> int:
        return self.dim

    def out_length(self, length: int) -> int:
        return length


class ToyProcessor(Processor[ToyConfig, Series]):
    def __call__(self, signal: Series) -> MediaItem:
        if not np.isfinite(signal.values).all():
            raise DataError("the series is not finite")
        return MediaItem({"values": torch.from_numpy(signal.values * 2)}, len(signal.values))


class Careless(ToyProcessor):
    def __call__(self, signal: Series) -> MediaItem:
        return MediaItem({"values": torch.from_numpy(np.nan_to_num(signal.values))}, len(signal.values))


class Vandal(ToyProcessor):
    def __call__(self, signal: Series) -> MediaItem:
        item = super().__call__(signal)
        signal.values[0] = 7.0
        return item


class Unpicklable(ToyProcessor):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.double = lambda values: values * 2


class ToyEncoder(Encoder[ToyConfig]):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(1, config.dim)

    def forward(self, items: Sequence[MediaItem]) -> Features:
        padded = pad_sequence([item.tensors["values"] for item in items], batch_first=True)
        features = Features(padded.to(self.linear.weight.dtype), torch.tensor([item.length for item in items]))
        return features.with_values(self.values(features))

    def values(self, features: Features) -> Tensor:
        return self.linear(features.values)


class Leaking(ToyEncoder):
    """Averages over the padding, too."""

    def values(self, features: Features) -> Tensor:
        return self.linear(features.values + features.values.mean(dim=1, keepdim=True))


class MeanRemoving(ToyEncoder):
    """Gives one vector fewer than its configuration says."""

    def forward(self, items: Sequence[MediaItem]) -> Features:
        features = super().forward(items)
        return Features(features.values[:, 1:], features.lengths - 1)


class ToyContract(EncoderContract):
    plugin = __name__
    name = "toy"
    implementation: type[Any] = ToyEncoder
    processing: type[Any] = ToyProcessor

    @property
    def spec(self) -> ComponentSpec:
        return ComponentSpec(
            kind="encoder",
            name="toy",
            summary="a linear map of points",
            config=f"{__name__}:ToyConfig",
            implementation=f"{__name__}:{self.implementation.__name__}",
            processor=f"{__name__}:{self.processing.__name__}",
            modality="series",
        )

    def signals(self, config: ToyConfig) -> list[Series]:
        return [Series(np.random.default_rng(n).normal(size=(n, 1)).astype(np.float32)) for n in (1, 9, 4)]

    def bad_signals(self, config: ToyConfig) -> list[Series]:
        return [Series(np.array([[1.0], [np.nan]], np.float32))]


def test_an_encoder_that_keeps_the_contract_passes(broken: Broken) -> None:
    assert broken(ToyContract) == set()


@pytest.mark.parametrize(
    ("changes", "failures"),
    [
        ({"processing": Careless}, {"bad_signals_are_refused"}),
        ({"processing": Vandal}, {"processing_leaves_the_signal_alone"}),
        ({"processing": Unpicklable}, {"processor_can_be_sent_to_workers"}),
        ({"processing": ToyEncoder}, {"record_names_modality_and_processor"}),
        ({"implementation": Leaking}, {"batch_equals_items_alone"}),
        ({"implementation": MeanRemoving}, {"widths_and_lengths_are_those_of_the_configuration"}),
        ({"signals": lambda self, config: []}, {"outputs_are_finite"}),
    ],
)
def test_a_mistake_fails_its_check(broken: Broken, changes: dict[str, Any], failures: set[str]) -> None:
    contract = type("Contract", (ToyContract,), changes)
    if "processing" in changes and not issubclass(changes["processing"], Processor):
        with pytest.raises(AssertionError, match="is not a Processor"):
            contract().test_record_names_modality_and_processor()
    else:
        assert failures <= broken(contract)


def test_a_leak_through_padding_fails_one_check_only(broken: Broken) -> None:
    assert broken(type("Contract", (ToyContract,), {"implementation": Leaking})) == {"batch_equals_items_alone"}
