"""The contract of encoders and their processors."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from modrwkv_core.errors import DataError
from modrwkv_core.interfaces.component import Encoder, Processor
from modrwkv_core.interfaces.config import EncoderConfig, build_sections
from modrwkv_core.interfaces.grids import grids_of
from modrwkv_core.interfaces.record import Media, Text
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_core.model.build import build_encoder, build_processor
from modrwkv_core.testing.features import assert_features
from modrwkv_core.testing.neural import SAME, NeuralContract, assert_near
from modrwkv_core.testing.registration import installed, load
from modrwkv_core.testing.signals import broken, odd

__all__ = ["EncoderContract"]


@cache
def examples(modality: str) -> tuple[Any, ...]:
    """Return the example signals of an installed modality."""
    return tuple(installed().modality_class(modality)().examples())


class EncoderContract(NeuralContract):
    """An encoder; a subclass sets ``plugin``, ``name`` and ``configs``.

    It is tried on the modality's example signals; override :meth:`signals` if some of ``configs`` read others.
    """

    kind: ClassVar = "encoder"
    config_base: ClassVar = EncoderConfig
    interface: ClassVar = Encoder

    def signals(self, config: Any) -> Sequence[Any]:
        """Return signals that the encoder reads, of as many different lengths as there may be, the shortest too."""
        assert self.spec.modality, f"the record of {self.name} names no modality"
        return examples(self.spec.modality)

    def bad_signals(self, config: Any) -> Sequence[Any]:
        """Return further signals that the processor must refuse, beside empty ones, NaN and infinity."""
        return ()

    def processor(self, config: Any) -> Processor[Any, Any]:
        """Construct the processor, and those of the encoders that it is made of."""
        assert self.spec.processor, f"the record of {self.name} names no processor"
        inner = build_sections(config, partial(build_processor, installed()))
        processor: Processor[Any, Any] = load(self.spec.processor)(config, **inner)
        return processor

    def build(self, config: Any) -> nn.Module:
        """Construct the encoder, and those that it is made of."""
        inner = build_sections(config, partial(build_encoder, installed()))
        encoder: nn.Module = load(self.spec.implementation)(config, **inner)
        return encoder

    def items(self, config: Any, device: str = "cpu") -> list[MediaItem]:
        """Process the signals."""
        processor = self.processor(config)
        return [processor(signal).to(device) for signal in self._signals(config)]

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
        """The record says whose signals the encoder reads and what processes them.

        Remedy: set ``modality`` and ``processor`` in the ``ComponentSpec``.
        """
        assert self.spec.modality, f"the record of {self.name} names no modality"
        assert self.spec.processor, f"the record of {self.name} names no processor"
        assert issubclass(load(self.spec.processor), Processor), f"{self.spec.processor} is not a Processor"

    def test_dims_and_lengths_are_those_of_the_configuration(self, settings: Mapping[str, Any]) -> None:
        """``out_dim`` and ``out_length`` say what forward gives, for each signal alone.

        Remedy: make ``out_dim`` and ``out_length`` of the configuration say what ``forward`` gives.
        """
        module = self.made(settings)
        for item in self.items(module.config):
            self.encoded(module, [item])

    def test_a_fixed_length_is_that_of_all_signals(self, settings: Mapping[str, Any]) -> None:
        """If the configuration has a ``fixed_length``, items of all signals have it: batches are planned with it.

        Remedy: return None in ``fixed_length`` if the length depends on the signal.
        """
        config = self.config(settings)
        if config.fixed_length is not None:
            lengths = {item.length for item in self.items(config)}
            assert lengths == {config.fixed_length}, f"items have lengths {lengths}, fixed is {config.fixed_length}"

    def test_grids_are_known_from_the_configuration(self, settings: Mapping[str, Any]) -> None:
        """If features form grids, those of the typical length do; ``fixed_length`` has the grids of all signals.

        The typical length is a plain number where the configuration has none.

        Remedy: make lengths ``GridLength((rows, columns))`` in the processor, ``typical_length`` and ``fixed_length``.
        """
        config = self.config(settings)
        found = [grids_of(config.out_length(item.length)) for item in self.items(config)]
        usual = grids_of(config.out_length(100 if config.typical_length is None else config.typical_length))
        assert [grids is None for grids in found] == [usual is None] * len(found), (
            f"features of {self.name} have the grids {found}, and those of its typical length {usual}"
        )
        if config.fixed_length is not None:
            fixed = grids_of(config.out_length(config.fixed_length))
            assert set(found) == {fixed}, f"features of {self.name} have the grids {found}, fixed is {fixed}"

    def test_batch_equals_items_alone(self, settings: Mapping[str, Any]) -> None:
        """An item's features do not depend on its neighbours or on padding.

        Remedy: mask padding wherever positions mix: attention, convolution, normalization, means.
        """
        module = self.made(settings)
        items = self.items(module.config)
        alone = torch.cat([self.encoded(module, [item]).packed() for item in items])
        together = self.encoded(module, items).packed()
        assert_near(together, alone, SAME, f"{self.name}: a batch differs from its items alone")

    def test_processor_can_be_sent_to_workers(self, settings: Mapping[str, Any]) -> None:
        """The processor pickles, and its copy makes the same items: CPU tensors without gradient.

        Remedy: keep lambdas, open files, modules and CUDA out of the processor's attributes.
        """
        config = self.config(settings)
        processor = self.processor(config)
        try:
            copy = pickle.loads(pickle.dumps(processor))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise AssertionError(f"the processor of {self.name} cannot be pickled: {error}") from error
        for signal in self._signals(config):
            item, again = processor(signal), copy(signal)
            assert item.length == again.length >= 1, f"lengths {item.length} and {again.length} of one signal"
            for name, tensor in item.tensors.items():
                assert tensor.device.type == "cpu", f"the processor of {self.name} puts {name} on {tensor.device}"
                assert not tensor.requires_grad, f"the processor of {self.name} gives {name} a gradient"
                assert_near(again.tensors[name], tensor, 0.0, f"{name} from the pickled processor differs")

    def test_parts_can_stand_in_the_token_stream(self, settings: Mapping[str, Any]) -> None:
        """``parts`` gives items, texts, and media of ``other_modalities``; one item if its length is fixed.

        Remedy: yield ``MediaItem``, ``Text`` or ``Media`` only, and name the modalities of media in
        ``other_modalities`` of the configuration.
        """
        module = self.made(settings)
        processor = self.processor(module.config)
        for signal in self._signals(module.config):
            parts = list(processor.parts(signal))
            items = [part for part in parts if isinstance(part, MediaItem)]
            others = {part.modality for part in parts if isinstance(part, Media)}
            strange = {type(part).__name__ for part in parts if not isinstance(part, MediaItem | Text | Media)}
            assert not strange, f"the processor of {self.name} yields {', '.join(sorted(strange))}"
            assert others <= set(module.config.other_modalities), (
                f"the processor of {self.name} yields media of {', '.join(sorted(others))}, but other_modalities has "
                f"{', '.join(module.config.other_modalities) or 'none'}"
            )
            assert module.config.fixed_length is None or len(items) == len(parts) == 1, (
                f"items of {self.name} have a fixed length, but a signal becomes {len(parts)} parts"
            )
            self.encoded(module, items)

    def test_processing_leaves_the_signal_alone(self, settings: Mapping[str, Any]) -> None:
        """A signal is used again: it is the context of a forecast, or shown in a report.

        Remedy: copy arrays before writing into them.
        """
        config = self.config(settings)
        processor = self.processor(config)
        for signal in self._signals(config):
            before = pickle.dumps(signal)
            processor(signal)
            assert pickle.dumps(signal) == before, f"the processor of {self.name} changes the signal"

    def test_broken_signals_are_refused(self, settings: Mapping[str, Any]) -> None:
        """A signal with nothing, NaN or infinity in it, or one of ``bad_signals``, is a ``DataError``.

        Remedy: check the signal first and raise ``DataError`` with what is wrong with it.
        """
        config = self.config(settings)
        processor = self.processor(config)
        wrong = [*broken(self._longest(config))]
        wrong += [(f"bad signal {index}", signal) for index, signal in enumerate(self.bad_signals(config))]
        for what, signal in wrong:
            item = self._processed(processor, signal, what)
            assert item is None, f"the processor of {self.name} accepts a signal with {what}"

    def test_odd_signals_are_read_or_refused(self, settings: Mapping[str, Any]) -> None:
        """One step only, constants, huge values, more channels, unusual memory: finite tensors or a ``DataError``.

        Remedy: copy what ``torch.from_numpy`` refuses, guard divisions, raise ``DataError`` for what cannot be read.
        """
        config = self.config(settings)
        processor = self.processor(config)
        for what, signal in odd(self._longest(config)):
            item = self._processed(processor, signal, what)
            if item is None:
                continue
            assert item.length >= 1, f"the processor of {self.name} gives length {item.length} for a signal with {what}"
            for name, tensor in item.tensors.items():
                assert torch.isfinite(tensor).all(), (
                    f"{name} of {self.name} is NaN or infinite for a signal with {what}"
                )

    def _signals(self, config: Any) -> Sequence[Any]:
        signals = self.signals(config)
        assert signals, (
            f"there is no signal to test {self.name} with: override signals of {type(self).__name__}, or examples of "
            f"the modality {self.spec.modality}"
        )
        return signals

    def _longest(self, config: Any) -> Any:
        processor = self.processor(config)
        return max(self._signals(config), key=lambda signal: processor(signal).length)

    def _processed(self, processor: Processor[Any, Any], signal: Any, what: str) -> MediaItem | None:
        """Process ``signal``; None if it is refused in the proper way."""
        try:
            return processor(signal)
        except DataError:
            return None
        except Exception as error:
            message = f"{type(error).__name__} instead of DataError for a signal with {what}: {error}"
            raise AssertionError(f"the processor of {self.name} raises {message}") from error
