"""The contract of encoders and their processors."""

from __future__ import annotations

import pickle
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Encoder, Processor
from modrwkv_core.interfaces.config import EncoderConfig
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_core.testing.features import assert_features
from modrwkv_core.testing.neural import SAME, NeuralContract, assert_near
from modrwkv_core.testing.registration import load

__all__ = ["EncoderContract"]


class EncoderContract(NeuralContract):
    """An encoder; a subclass sets ``plugin``, ``name`` and ``configs`` and says what signals to try."""

    kind: ClassVar = "encoder"
    config_base: ClassVar = EncoderConfig
    interface: ClassVar = Encoder

    @abstractmethod
    def signals(self, config: Any) -> Sequence[Any]:
        """Return signals that the encoder reads, of as many different lengths as there may be, the shortest too."""

    def bad_signals(self, config: Any) -> Sequence[Any]:
        """Return signals that the processor must refuse."""
        return ()

    def processor(self, config: Any) -> Processor[Any, Any]:
        """Construct the processor."""
        assert self.spec.processor, f"the record of {self.name} names no processor"
        processor: Processor[Any, Any] = load(self.spec.processor)(config)
        return processor

    def build(self, config: Any) -> nn.Module:
        """Construct the encoder."""
        encoder: nn.Module = load(self.spec.implementation)(config)
        return encoder

    def items(self, config: Any, device: str = "cpu") -> list[MediaItem]:
        """Process the signals."""
        processor = self.processor(config)
        items = [processor(signal).to(device) for signal in self.signals(config)]
        assert items, f"{type(self).__name__}.signals gives no signal to test with"
        return items

    def outputs(self, module: Any, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
        """Encode all signals in one batch."""
        return self.encoded(module, self.items(module.config, device), dtype).packed()

    def encoded(self, module: Any, items: Sequence[MediaItem], dtype: torch.dtype = torch.float32) -> Features:
        """Encode ``items`` and check the form of the features."""
        features: Features = module(items)
        expected = [module.config.out_length(item.length) for item in items]
        assert_features(features, expected, module.config.out_dim, dtype, self.name)
        return features

    def test_record_names_modality_and_processor(self) -> None:
        """The record says whose signals the encoder reads and what processes them."""
        assert self.spec.modality, f"the record of {self.name} names no modality"
        assert self.spec.processor, f"the record of {self.name} names no processor"
        assert issubclass(load(self.spec.processor), Processor), f"{self.spec.processor} is not a Processor"

    def test_widths_and_lengths_are_those_of_the_configuration(self, settings: Mapping[str, Any]) -> None:
        """``out_dim`` and ``out_length`` say what forward gives, for each signal alone."""
        module = self.made(settings)
        for item in self.items(module.config):
            self.encoded(module, [item])

    def test_batch_equals_items_alone(self, settings: Mapping[str, Any]) -> None:
        """An item's features do not depend on its neighbours or on padding."""
        module = self.made(settings)
        items = self.items(module.config)
        alone = torch.cat([self.encoded(module, [item]).packed() for item in items])
        together = self.encoded(module, items).packed()
        assert_near(together, alone, SAME, f"{self.name}: a batch differs from its items alone")

    def test_processor_can_be_sent_to_workers(self, settings: Mapping[str, Any]) -> None:
        """The processor pickles, and its copy makes the same items: CPU tensors without gradient."""
        config = self.config(settings)
        processor = self.processor(config)
        try:
            copy = pickle.loads(pickle.dumps(processor))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise AssertionError(f"the processor of {self.name} cannot be pickled: {error}") from error
        for signal in self.signals(config):
            item, again = processor(signal), copy(signal)
            assert item.length == again.length >= 1, f"lengths {item.length} and {again.length} of one signal"
            for name, tensor in item.tensors.items():
                assert tensor.device.type == "cpu", f"the processor of {self.name} puts {name} on {tensor.device}"
                assert not tensor.requires_grad, f"the processor of {self.name} gives {name} a gradient"
                assert_near(again.tensors[name], tensor, 0.0, f"{name} from the pickled processor differs")

    def test_processing_leaves_the_signal_alone(self, settings: Mapping[str, Any]) -> None:
        """A signal is used again: it is the context of a forecast, or shown in a report."""
        config = self.config(settings)
        processor = self.processor(config)
        for signal in self.signals(config):
            before = pickle.dumps(signal)
            processor(signal)
            assert pickle.dumps(signal) == before, f"the processor of {self.name} changes the signal"

    def test_bad_signals_are_refused(self, settings: Mapping[str, Any]) -> None:
        """What cannot be read is a ``DataError``, not a wrong answer."""
        config = self.config(settings)
        processor = self.processor(config)
        for index, signal in enumerate(self.bad_signals(config)):
            try:
                processor(signal)
            except DataError:
                continue
            raise AssertionError(f"the processor of {self.name} accepts bad signal {index}: {signal!r}")
