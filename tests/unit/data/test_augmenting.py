"""Augmentation in the loader: when it applies, to what, and with which randomness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator

from modrwkv_core.data.augmenting import Draw, SignalAugmenter
from modrwkv_core.data.batch import Batch
from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.loading import Loader
from modrwkv_core.data.order import EpochOrder
from modrwkv_core.errors import ComponentError, DataError, PluginError
from modrwkv_core.interfaces.augmentation import (
    Augmentation,
    ItemAugmentation,
    LabeledSignal,
    Others,
    SampleAugmentation,
    SignalAugmentation,
)
from modrwkv_core.interfaces.config import AugmentationConfig, SourceConfig
from modrwkv_core.interfaces.guard import Origin
from modrwkv_core.interfaces.record import Media, Record, Target, Text, Turn
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.interfaces.source import Source
from modrwkv_core.interfaces.values import MediaItem

# Where processes are forked, Python 3.12 warns of the threads that torch keeps.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class PlainConfig(AugmentationConfig):
    type: Literal["plain"] = "plain"


class AddNoise(SignalAugmentation[PlainConfig, Any]):
    def __call__(self, signal: Any, rng: Generator) -> Any:
        return signal + rng.random(len(signal), dtype=np.float32)


class Double(SampleAugmentation[PlainConfig, Any]):
    """Twice as long, and the mood is swapped."""

    def __call__(self, sample: LabeledSignal[Any], rng: Generator, others: Others) -> LabeledSignal[Any]:
        swap = {"calm": "wild", "wild": "calm"}
        return LabeledSignal(np.tile(sample.signal, 2), tuple(swap[target] for target in sample.targets))


class Borrow(SampleAugmentation[PlainConfig, Any]):
    """The signal of another record."""

    def __call__(self, sample: LabeledSignal[Any], rng: Generator, others: Others) -> LabeledSignal[Any]:
        other = others()
        return sample if other is None or len(other.targets) != len(sample.targets) else other


class Negate(ItemAugmentation[PlainConfig]):
    def __call__(self, item: MediaItem, rng: Generator) -> MediaItem:
        return MediaItem({"values": -item.tensors["values"]}, item.length)


class CountingConfig(SourceConfig):
    source: Literal["counting"] = "counting"
    size: int = 10


class CountingSource(Source[CountingConfig]):
    def __len__(self) -> int:
        return self.config.size

    def __getitem__(self, index: int) -> Record:
        question = Turn("user", (Media("sound", [float(index)] * (index % 3 + 2)), Text(f"{index}?")))
        return Record(str(index), (question, Turn("assistant", (Target("mood", "calm"), Text(str(index))))))


SOURCE = CountingSource(CountingConfig())


def augmenting(
    encoder: ConversationEncoder, *classes: type[Augmentation[Any]], **settings: float
) -> ConversationEncoder:
    augmentations = [each(PlainConfig.model_validate(settings)) for each in classes]
    encoder.augmenters = {"sound": SignalAugmenter(augmentations, encoder.preprocessors["sound"].decode)}
    return encoder


def loader(encoder: ConversationEncoder, *, augment: bool = True, workers: int = 0, **settings: Any) -> Loader:
    settings = {"seed": 1, "phase": "align"} | settings
    return Loader([SOURCE], encoder, batch_size=3, workers=workers, augment=augment, **settings)


def values(batches: Sequence[Batch | None]) -> list[list[float]]:
    return [media.item.tensors["values"].tolist() for batch in batches if batch is not None for media in batch.media]


def by_key(loader: Loader, epoch: int) -> dict[str, list[float]]:
    batches = [batch for (batch,) in loader.batches(epoch) if batch is not None]
    return {media.key: media.item.tensors["values"].tolist() for batch in batches for media in batch.media}


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_and_resuming_change_nothing(encoder: ConversationEncoder, workers: int) -> None:
    augmenting(encoder, AddNoise, probability=0.5)
    whole = [batch for (batch,) in loader(encoder).batches(1)]
    again = loader(encoder, workers=workers)
    next(again.batches(0))
    assert values([batch for (batch,) in again.batches(1)]) == values(whole)
    assert values([batch for (batch,) in again.batches(1, start=2)]) == values(whole[2:])
    seeds = [media.seed for batch in whole if batch is not None for media in batch.media]
    assert len(set(seeds)) == len(seeds) == 10


def test_epochs_phases_and_runs_differ(encoder: ConversationEncoder) -> None:
    augmenting(encoder, AddNoise)
    first = by_key(loader(encoder), 0)
    others = [by_key(loader(encoder), 1), by_key(loader(encoder, phase="b"), 0), by_key(loader(encoder, seed=2), 0)]
    for other in others:
        assert first.keys() == other.keys()
        assert all(first[key] != other[key] for key in first)


def test_nothing_is_augmented_unless_the_loader_says_so(encoder: ConversationEncoder) -> None:
    plain = by_key(loader(encoder, augment=False), 0)
    augmenting(encoder, AddNoise, Double, Negate)
    batches = [batch for (batch,) in loader(encoder, augment=False).batches(0) if batch is not None]
    assert by_key(loader(encoder, augment=False), 0) == plain
    assert all(media.seed is None for batch in batches for media in batch.media)
    turns = SOURCE[3].turns[:1]
    assert encoder.prompt(turns).media[0].item.tensors["values"].tolist() == plain["3"]
    assert encoder.query(turns, "mood").media[0].seed is None
    assert encoder.sample(SOURCE[3]).media[0].item.tensors["values"].tolist() == plain["3"]


def test_the_order_of_records_is_that_without_augmentation(encoder: ConversationEncoder) -> None:
    augmenting(encoder, AddNoise)
    orders = [[b.keys for (b,) in loader(encoder, augment=a).batches(0) if b is not None] for a in (False, True)]
    assert orders[0] == orders[1]


def test_length_targets_and_items_follow(encoder: ConversationEncoder) -> None:
    plain = encoder.sample(SOURCE[4])
    changed = augmenting(encoder, Negate, Double).sample(SOURCE[4], Draw(0, SOURCE))
    assert changed.media[0].item.tensors["values"].tolist() == [-4.0] * 6
    assert changed.media[0].count == 3 == plain.media[0].count + 2
    [query] = changed.queries["mood"]
    assert query.target == "wild"
    assert query.signal.tolist() == [40.0] * 6, "the head is given the signal that the model is shown"
    assert plain.queries["mood"][0].target == "calm"


def test_each_target_belongs_to_the_signal_before_it(encoder: ConversationEncoder) -> None:
    def turns(*pairs: tuple[list[float], str]) -> tuple[Turn, ...]:
        return tuple(
            turn
            for sound, mood in pairs
            for turn in (
                Turn("user", (Media("sound", sound), Text("?"))),
                Turn("assistant", (Text("so: "), Target(None, mood), Target("mood", mood))),
            )
        )

    record = Record("r", turns(([1.0, 1.0], "calm"), ([2.0, 2.0], "wild")))
    changed = augmenting(encoder, Double).sample(record, Draw(0, SOURCE))
    assert [query.target for query in changed.queries["mood"]] == ["wild", "wild", "calm", "calm"]


def test_others_come_from_the_same_source(encoder: ConversationEncoder) -> None:
    augmenting(encoder, Borrow)
    found = {
        encoder.sample(SOURCE[0], Draw(seed, SOURCE)).media[0].item.tensors["values"][0].item() for seed in range(99)
    }
    assert found == set(map(float, range(10)))


@given(probability=st.floats(0.0, 1.0), seed=st.integers(0, 2**63 - 1))
def test_probability_is_the_share_of_changed_signals(probability: float, seed: int) -> None:
    augmenter = SignalAugmenter([AddNoise(PlainConfig(probability=probability))], lambda signal: signal)
    rng = np.random.default_rng(seed)
    signal = np.ones(2, np.float32)
    results = [augmenter.augment(LabeledSignal(signal), rng, lambda: None).signal for _ in range(400)]
    share = np.mean([result is not signal for result in results])
    # Hoeffding: further away once in 10^13.
    assert abs(share - probability) < 0.195


@given(seed=st.integers(0, 2**63 - 1), count=st.integers(1, 300))
def test_seeds_are_a_function_of_the_place(seed: int, count: int) -> None:
    order = EpochOrder([count], [1.0], seed=seed, phase="a", epoch=3)
    more = order.seeds(np.arange(count + 7))
    assert order.seeds(np.arange(count)).tolist() == more[:count].tolist()
    assert len(set(more.tolist())) == count + 7
    assert more.min() >= 0


class Broken(SignalAugmentation[PlainConfig, Any]):
    origin = Origin("augmentation/broken", "modrwkv-broken")
    result: Any = None

    def __call__(self, signal: Any, rng: Generator) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def accepts_finite(signal: Any) -> Any:
    if not np.isfinite(signal.samples).all():
        raise DataError("it holds NaN")
    return signal


ONES = Waveform(np.ones(4, np.float32), 8)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.ones(3), "made a ndarray of a Waveform"),
        (None, "made a NoneType of a Waveform"),
        (Waveform(ONES.samples, 16), r"changed \{'rate': 8\} of the signal to \{'rate': 16\}"),
        (Waveform(np.full(4, np.nan, np.float32), 8), "cannot be used: it holds NaN"),
    ],
)
def test_unusable_results_name_the_augmentation(result: Any, message: str) -> None:
    augmentation = Broken(PlainConfig())
    augmentation.result = result
    with pytest.raises(ComponentError, match=message) as caught:
        SignalAugmenter([augmentation], accepts_finite).augment(
            LabeledSignal(ONES), np.random.default_rng(0), no_others
        )
    assert (caught.value.component, caught.value.distribution) == ("augmentation/broken", "modrwkv-broken")
    assert caught.value.hint


def no_others() -> None:
    return None


@pytest.mark.parametrize("error", [RuntimeError("oops"), KeyError("oops")])
def test_failures_name_the_augmentation(error: Exception) -> None:
    augmentation = Broken(PlainConfig())
    augmentation.result = error
    with pytest.raises(PluginError, match=r"the augmentation failed: .*oops") as caught:
        SignalAugmenter([augmentation], accepts_finite).augment(
            LabeledSignal(ONES), np.random.default_rng(0), no_others
        )
    assert caught.value.distribution == "modrwkv-broken"


def test_failures_name_the_record(encoder: ConversationEncoder) -> None:
    augmentation = Broken(PlainConfig())
    augmentation.result = RuntimeError("oops")
    encoder.augmenters = {"sound": SignalAugmenter([augmentation], lambda signal: signal)}
    with pytest.raises(DataError, match=r"^4: sound: the augmentation failed: RuntimeError: oops"):
        encoder.sample(SOURCE[4], Draw(0, SOURCE))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (MediaItem({"values": torch.ones(3)}, 3), r"made an item of length 3 .* of an item of length 4"),
        (MediaItem({"values": torch.ones(4).double()}, 4), "float64"),
        (MediaItem({"other": torch.ones(4)}, 4), "other"),
        ("item", "made a str of an item"),
    ],
)
def test_items_keep_their_form(changed: Any, message: str) -> None:
    class Wrong(ItemAugmentation[PlainConfig]):
        def __call__(self, item: MediaItem, rng: Generator) -> MediaItem:
            return changed

    augmenter = SignalAugmenter([Wrong(PlainConfig())], accepts_finite)
    with pytest.raises(ComponentError, match=message):
        augmenter.augment_item(MediaItem({"values": torch.ones(4)}, 4), np.random.default_rng(0))


def test_targets_keep_their_number() -> None:
    class Loses(SampleAugmentation[PlainConfig, Any]):
        def __call__(self, sample: LabeledSignal[Any], rng: Generator, others: Others) -> LabeledSignal[Any]:
            return LabeledSignal(sample.signal)

    augmenter = SignalAugmenter([Loses(PlainConfig())], accepts_finite)
    with pytest.raises(ComponentError, match="made 0 targets of 1"):
        augmenter.augment(LabeledSignal(ONES, ("calm",)), np.random.default_rng(0), no_others)
