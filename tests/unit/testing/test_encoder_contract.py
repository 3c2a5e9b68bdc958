from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal
from unittest import SkipTest

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Encoder, Processor
from modrwkv_core.interfaces.config import EncoderConfig
from modrwkv_core.interfaces.grids import GridLength
from modrwkv_core.interfaces.signals import TimeSeries
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


class ToyProcessor(Processor[ToyConfig, TimeSeries]):
    def __call__(self, signal: TimeSeries) -> MediaItem:
        if signal.values.shape[1] != 1 or not signal.values.size or not np.isfinite(signal.values).all():
            raise DataError("the series is not finite, empty, or of several channels")
        return MediaItem({"values": torch.from_numpy(signal.values * 2)}, len(signal.values))


class Careless(ToyProcessor):
    def __call__(self, signal: TimeSeries) -> MediaItem:
        return MediaItem({"values": torch.from_numpy(np.nan_to_num(signal.values))}, len(signal.values))


class Tripping(ToyProcessor):
    """Refuses what is broken, but in words that no user understands."""

    def __call__(self, signal: TimeSeries) -> MediaItem:
        assert signal.values.size
        assert np.isfinite(signal.values).all()
        return super().__call__(signal)


class Gridded(ToyProcessor):
    """Knows of grids, of which the configuration says nothing."""

    def __call__(self, signal: TimeSeries) -> MediaItem:
        item = super().__call__(signal)
        return MediaItem(item.tensors, GridLength((1, item.length)))


class MemoryBound(ToyProcessor):
    def __call__(self, signal: TimeSeries) -> MediaItem:
        super().__call__(signal)
        return MediaItem({"values": torch.from_numpy(signal.values)}, len(signal.values))


class Overflowing(ToyProcessor):
    def __call__(self, signal: TimeSeries) -> MediaItem:
        values = super().__call__(signal).tensors["values"]
        return MediaItem({"values": values / values.square().mean().sqrt()}, len(values))


class Vandal(ToyProcessor):
    def __call__(self, signal: TimeSeries) -> MediaItem:
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


class Stationary(ToyEncoder):
    """Adds something that never leaves the CPU."""

    def values(self, features: Features) -> Tensor:
        return self.linear(features.values) + torch.zeros(self.config.dim, dtype=self.linear.weight.dtype)


class Curious(ToyEncoder):
    """Asks for values, which a device without memory does not have."""

    def values(self, features: Features) -> Tensor:
        assert features.values.sum().item() < 1e9
        return self.linear(features.values)


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
            api=1,
            kind="encoder",
            name="toy",
            summary="a linear map of points",
            config=f"{__name__}:ToyConfig",
            implementation=f"{__name__}:{self.implementation.__name__}",
            processor=f"{__name__}:{self.processing.__name__}",
            modality="series",
        )

    def signals(self, config: ToyConfig) -> list[TimeSeries]:
        return [TimeSeries(np.random.default_rng(n).normal(size=(n, 1)).astype(np.float32)) for n in (1, 9, 4)]


def test_an_encoder_that_keeps_the_contract_passes(broken: Broken) -> None:
    assert broken(ToyContract) == set()


@pytest.mark.parametrize(
    ("changes", "failures"),
    [
        ({"processing": Careless}, {"broken_signals_are_refused"}),
        ({"processing": Tripping}, {"broken_signals_are_refused"}),
        ({"processing": Gridded}, {"grids_are_known_from_the_configuration"}),
        ({"processing": MemoryBound}, {"odd_signals_are_read_or_refused"}),
        ({"processing": Overflowing}, {"odd_signals_are_read_or_refused"}),
        ({"implementation": Stationary}, {"devices"}),
        ({"processing": Vandal}, {"processing_leaves_the_signal_alone"}),
        ({"processing": Unpicklable}, {"processor_can_be_sent_to_workers"}),
        ({"processing": ToyEncoder}, {"record_names_modality_and_processor"}),
        ({"implementation": Leaking}, {"batch_equals_items_alone"}),
        ({"implementation": MeanRemoving}, {"dims_and_lengths_are_those_of_the_configuration"}),
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


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU shows it")
def test_what_only_a_gpu_shows_is_skipped_without_one() -> None:
    contract = type("Contract", (ToyContract,), {"implementation": Curious})
    with pytest.raises(SkipTest, match="toy asks a tensor for its values"):
        contract().test_devices({})


def test_an_encoder_is_tried_on_the_examples_of_its_modality() -> None:
    contract = type("Contract", (ToyContract,), {"signals": EncoderContract.signals})()
    assert [len(signal.values) for signal in contract.signals(ToyConfig())] == [32, 57, 100]


def test_further_bad_signals_must_be_refused_too() -> None:
    good = TimeSeries(np.ones((3, 1), np.float32))
    contract = type("Contract", (ToyContract,), {"bad_signals": lambda self, config: [good]})()
    with pytest.raises(AssertionError, match="accepts a signal with bad signal 0"):
        contract.test_broken_signals_are_refused({})
