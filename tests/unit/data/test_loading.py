import pickle
from collections import Counter
from itertools import islice, pairwise
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from modrwkv_core.data import batching
from modrwkv_core.data.batch import Batch
from modrwkv_core.data.batching import EpochBatches, SampleIndex, Share
from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.lengths import measure_lengths, refuse_longer
from modrwkv_core.data.loading import Loader
from modrwkv_core.data.order import EpochOrder, epoch_size
from modrwkv_core.errors import DataError, ModRWKVError
from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.interfaces.record import Media, Record, Target, Text, Turn
from modrwkv_core.interfaces.source import Source

# Where processes are forked, Python 3.12 warns of the threads that torch keeps.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class CountingConfig(SourceConfig):
    source: Literal["counting"] = "counting"
    name: str
    size: int
    broken: int | None = None


class CountingSource(Source[CountingConfig]):
    def __len__(self) -> int:
        return self.config.size

    def __getitem__(self, index: int) -> Record:
        key = f"{self.config.name}:{index}"
        if index == self.config.broken:
            raise DataError(f"{key}: broken", component="source/counting", hint="fix it")
        question = Turn("user", (Media("sound", list(range(index % 5 + 2))), Text(f"{index}?")))
        answer = Target("mood", ("calm", "wild")[index // 2 % 2]) if index % 2 else Text(str(index))
        return Record(key, (question, Turn("assistant", (answer,))))


def sources(**settings: float) -> list[CountingSource]:
    return [
        CountingSource(CountingConfig(name=name, size=int(size), repeat=repeat))
        for name, (size, repeat) in {"a": (11, 1.0), "b": (8, 0.5)}.items()
    ]


def loader(encoder: ConversationEncoder, workers: int = 0, phase: str = "align", seed: int = 1) -> Loader:
    return Loader(sources(), encoder, batch_size=4, seed=seed, phase=phase, workers=workers)


def content(batch: Batch) -> object:
    """All that a batch holds, comparable."""
    return (
        batch.keys,
        batch.ids.tolist(),
        batch.supervised.tolist(),
        batch.labels.tolist(),
        {name: positions.tolist() for name, positions in (batch.media_positions | batch.query_positions).items()},
        batch.cu_seqlens.on_host().tolist(),
        [(item.position, item.count, item.item.tensors["values"].tolist()) for item in batch.media],
        {
            head: [(query.position, query.signal.tolist(), query.target) for query in asked]
            for head, asked in batch.queries.items()
        },
    )


def epoch_order(sizes: list[int], repeats: list[float], **key: Any) -> NDArray[np.int64]:
    order = EpochOrder(sizes, repeats, **key)
    return order.records(np.arange(len(order)))


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    repeat=st.sampled_from([0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.75]),
    seed=st.integers(0, 2**63),
)
def test_twenty_epochs_visit_all_records_equally(sizes: list[int], repeat: float, seed: int) -> None:
    repeats = [repeat] * len(sizes)
    orders = [epoch_order(sizes, repeats, seed=seed, phase="align", epoch=epoch) for epoch in range(20)]
    assert [len(order) for order in orders] == [epoch_size(sizes, repeats, epoch) for epoch in range(20)]
    visits = Counter(map(tuple, np.concatenate(orders).tolist()))
    for source, size in enumerate(sizes):
        counts = [visits[source, record] for record in range(size)]
        assert max(counts) - min(counts) <= 1
        assert abs(sum(counts) - 20 * repeat * size) < 1


def test_a_whole_repeat_visits_each_record_as_often() -> None:
    order = epoch_order([5, 3], [1.0, 2.0], seed=0, phase="", epoch=3).tolist()
    assert Counter(map(tuple, order)) == {(0, n): 1 for n in range(5)} | {(1, n): 2 for n in range(3)}


def test_quarters_take_turns() -> None:
    quarters = [{r for _, r in epoch_order([8], [0.25], seed=0, phase="", epoch=e).tolist()} for e in range(5)]
    assert all(len(quarter) == 2 for quarter in quarters)
    assert set.union(*quarters[:4]) == set(range(8))
    assert quarters[4] == quarters[0]


def test_order_depends_on_seed_phase_and_epoch_only(encoder: ConversationEncoder) -> None:
    def keys(chosen: Loader, epoch: int) -> list[str]:
        return [key for (batch,) in chosen.batches(epoch) for key in batch.keys]

    first = keys(loader(encoder), 0)
    assert first == keys(loader(encoder), 0)
    others = [keys(loader(encoder), 1), keys(loader(encoder, phase="finetune"), 0), keys(loader(encoder, seed=2), 0)]
    assert all(first != other for other in others)
    assert first != sorted(first)
    used = loader(encoder)
    next(used.batches(2))
    assert keys(used, 0) == first


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(encoder: ConversationEncoder, workers: int) -> None:
    alone, together = loader(encoder), loader(encoder, workers)
    for epoch in range(2):
        expected = [content(batch) for (batch,) in alone.batches(epoch)]
        assert len(expected) == alone.batches_per_epoch(epoch) == 4
        assert [content(batch) for (batch,) in together.batches(epoch)] == expected


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_anywhere_gives_the_rest(encoder: ConversationEncoder, workers: int) -> None:
    whole = [content(batch) for (batch,) in loader(encoder).batches(1)]
    resumed = loader(encoder, workers)
    for start in range(len(whole) + 1):
        # An iteration left in the middle leaves nothing after.
        next(resumed.batches(0))
        assert [content(batch) for (batch,) in resumed.batches(1, start)] == whole[start:]


def test_the_global_generator_is_left_alone(encoder: ConversationEncoder) -> None:
    before = torch.get_rng_state()
    list(loader(encoder, workers=1).batches(0))
    list(loader(encoder).batches(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_arrive_as_they_were(encoder: ConversationEncoder, workers: int) -> None:
    source = CountingSource(CountingConfig(name="a", size=5, broken=3))
    with pytest.raises(ModRWKVError, match=r"^a:3: broken \(source/counting\)\nhint: fix it$", check=is_data_error):
        list(Loader([source], encoder, batch_size=1, seed=0, workers=workers).batches(0))


def is_data_error(error: ModRWKVError) -> bool:
    return type(error) is DataError


def test_a_source_without_records_is_refused(encoder: ConversationEncoder) -> None:
    with pytest.raises(DataError, match=r"no records \(source/counting\)"):
        Loader([CountingSource(CountingConfig(name="a", size=0))], encoder, batch_size=1, seed=0)


def test_workers_can_be_spawned(encoder: ConversationEncoder) -> None:
    made = loader(encoder)
    copy = pickle.loads(pickle.dumps(made._loader.dataset))
    visits = [SampleIndex(0, 3), SampleIndex(1, 2)], True
    first, second = (dataset[visits].content()[0] for dataset in (copy, made._loader.dataset))
    assert content(first) == content(second)


def test_batches_hold_their_conversations_in_order(encoder: ConversationEncoder) -> None:
    for (batch,) in loader(encoder).batches(0):
        bounds = batch.cu_seqlens.on_host().tolist()
        assert bounds[0] == 0
        assert bounds[-1] == batch.ids.shape[1]
        for key, (begin, end) in zip(batch.keys, pairwise(bounds), strict=True):
            name, index = key.split(":")
            alone = encoder.sample(CountingSource(CountingConfig(name=name, size=99))[int(index)])
            assert torch.equal(batch.ids[0, begin:end], alone.ids)


@given(st.integers(1, 40), st.integers(1, 9), st.none() | st.integers(1, 5))
def test_processes_share_a_batch_in_as_many_parts(length: int, size: int, micro_batch_size: int | None) -> None:
    batch = [SampleIndex(0, index) for index in range(length)]
    shares = [Share(rank, size, micro_batch_size).micro_batches(batch) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(item for share in shares for part in share for item in part) == batch
    sizes = [sum(map(len, share)) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert all(len(part) <= (micro_batch_size or length) for share in shares for part in share)


def lengths(encoder: ConversationEncoder) -> list[NDArray[np.uint32]]:
    return [measure_lengths(source, encoder, records=range(len(source))) for source in sources()]


def bounded(encoder: ConversationEncoder, max_tokens: int, **settings: Any) -> Loader:
    chosen = {"batch_size": None, "seed": 1, "lengths": lengths(encoder)} | settings
    return Loader(sources(), encoder, max_tokens_per_batch=max_tokens, **chosen)


def test_lengths_are_those_of_the_samples(encoder: ConversationEncoder) -> None:
    for source, measured in zip(sources(), lengths(encoder), strict=True):
        assert measured.tolist() == [len(encoder.sample(source[index]).ids) for index in range(len(source))]


def test_workers_measure_the_same(encoder: ConversationEncoder) -> None:
    source = CountingSource(CountingConfig(name="a", size=700))
    records = range(1, 700, 2)
    alone, together = (measure_lengths(source, encoder, records=records, workers=workers) for workers in (0, 1))
    assert alone.tolist() == together.tolist()
    assert len(alone) == 350


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_records_are_refused_or_have_no_length(encoder: ConversationEncoder, workers: int) -> None:
    source = CountingSource(CountingConfig(name="a", size=5, broken=3))
    with pytest.raises(DataError, match=r"^a:3: broken"):
        measure_lengths(source, encoder, records=range(5), workers=workers)
    measured = measure_lengths(source, encoder, records=range(5), workers=workers, on_error="skip")
    assert [index for index, length in enumerate(measured) if length == 0] == [3]


def test_a_fixed_length_spares_decoding(encoder: ConversationEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(encoder.preprocessors["sound"].encoder), "fixed_length", 6)
    monkeypatch.setattr(type(encoder.preprocessors["sound"].modality), "decode", None)
    without = encoder.num_tokens(Record("a", (Turn("user", (Text("?"),)),)))
    assert encoder.num_tokens(Record("a", (Turn("user", (Media("sound", []), Text("?"))),))) == without + 2 + 6 // 2


@given(st.lists(st.integers(1, 60), min_size=1, max_size=60), st.integers(60, 200), st.none() | st.integers(1, 9))
@settings(deadline=None)
def test_batches_of_tokens_hold_each_sample_once_within_both_limits(
    tokens: list[int], limit: int, batch_size: int | None
) -> None:
    order = EpochOrder([len(tokens)], [1.0], seed=3, phase="", epoch=0)
    known = [np.array(tokens, dtype=np.uint32)]
    epoch = EpochBatches(order, batch_size, limit, lengths=known, augment=True)
    batches = list(epoch.since(0))
    assert len(batches) == len(epoch)
    assert sorted(sample.record for batch in batches for sample in batch) == list(range(len(tokens)))
    for batch in batches:
        assert [sample.tokens for sample in batch] == [tokens[sample.record] for sample in batch]
        assert sum(sample.tokens or 0 for sample in batch) <= limit
        assert len(batch) <= (batch_size or len(tokens))
    seeds = order.seeds(np.arange(len(tokens))).tolist()
    assert sorted(sample.seed or 0 for batch in batches for sample in batch) == sorted(seeds)
    middle = len(batches) // 2
    assert list(epoch.since(middle)) == batches[middle:]


def test_several_windows_resume_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "_WINDOW", 16)
    order = EpochOrder([100], [1.0], seed=3, phase="", epoch=0)
    known = [(np.arange(100, dtype=np.uint32) * 7) % 31 + 1]
    batches = list(EpochBatches(order, None, 64, lengths=known, augment=False).since(0))
    assert sorted(sample.record for batch in batches for sample in batch) == list(range(100))
    for start in range(len(batches) + 1):
        resumed = EpochBatches(order, None, 64, lengths=known, augment=False)
        assert list(resumed.since(start)) == batches[start:]
        assert len(resumed) == len(batches)


def test_conversations_of_like_length_come_together_in_changing_company() -> None:
    rng = np.random.default_rng(0)
    known = [rng.integers(10, 1000, 4000).astype(np.uint32)]
    orders = [EpochOrder([4000], [1.0], seed=3, phase="", epoch=epoch) for epoch in range(2)]
    epochs = [list(EpochBatches(order, None, 8000, lengths=known, augment=False).since(0)) for order in orders]
    for batches in epochs:
        padding = [1 - np.mean(lengths) / max(lengths) for b in batches if (lengths := [s.tokens or 0 for s in b])]
        assert np.mean(padding) < 0.2, "in the order as it is, it would be half"
        assert np.mean([sum(s.tokens or 0 for s in batch) for batch in batches]) > 0.9 * 8000
        medians = [batch[0].tokens or 0 for batch in batches]
        assert abs(np.corrcoef(medians, range(len(medians)))[0, 1]) < 0.4, "long and short batches take turns"
    together = [{frozenset(sample.record for sample in batch) for batch in batches} for batches in epochs]
    assert not together[0] & together[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_tokens_are_loaded_as_planned(encoder: ConversationEncoder, workers: int) -> None:
    whole = [content(batch) for (batch,) in bounded(encoder, 150).batches(1) if batch is not None]
    assert 1 < len(whole) == bounded(encoder, 150).batches_per_epoch(1)
    resumed = bounded(encoder, 150, workers=workers)
    assert [content(batch) for (batch,) in resumed.batches(1, 1) if batch is not None] == whole[1:]
    for (batch,) in bounded(encoder, 150).batches(1):
        assert batch is not None
        assert batch.ids.numel() <= 150


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=60),
    st.integers(1, 9),
    st.none() | st.integers(1, 5),
    st.none() | st.integers(60, 100),
)
@settings(deadline=None)
def test_processes_share_the_tokens_of_a_batch(
    tokens: list[int], size: int, micro_batch_size: int | None, limit: int | None
) -> None:
    batch = [SampleIndex(0, index, length) for index, length in enumerate(tokens)]
    shares = [Share(rank, size, micro_batch_size, limit).micro_batches(batch) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(sample for share in shares for part in share for sample in part) == batch
    loads = [sum(sample.tokens or 0 for part in share for sample in part) for share in shares]
    assert max(loads) - min(loads) <= max(tokens)
    for part in (part for share in shares for part in share):
        assert len(part) <= (micro_batch_size or len(batch))
        assert sum(sample.tokens or 0 for sample in part) <= (limit or sum(tokens))


def test_a_conversation_longer_than_a_batch_is_refused_by_name(encoder: ConversationEncoder) -> None:
    (source, _), (measured, _) = sources(), lengths(encoder)
    longest = int(measured.max())
    refuse_longer(source, measured, longest)
    with pytest.raises(DataError, match=rf"a:{measured.argmax()}: the conversation has {longest} tokens, more than"):
        refuse_longer(source, measured, longest - 1)


def test_data_that_changed_since_they_were_measured_are_refused(encoder: ConversationEncoder) -> None:
    wrong = [measured + 1 for measured in lengths(encoder)]
    with pytest.raises(DataError, match=r"tokens, but \d+ when lengths were measured"):
        next(bounded(encoder, 150, lengths=wrong).batches(0))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_without_end_are_those_of_the_epochs(encoder: ConversationEncoder, workers: int) -> None:
    each = [content(batch) for epoch in range(3) for (batch,) in loader(encoder).batches(epoch)]
    endless = loader(encoder, workers=workers).batches_from(2)
    assert [content(batch) for (batch,) in islice(endless, len(each) - 2)] == each[2:]


def test_workers_begin_an_epoch_before_the_one_before_it_has_ended(encoder: ConversationEncoder) -> None:
    made = loader(encoder, workers=2)
    last = made.batches_per_epoch(0)
    batches = made.batches_from(last - 1)
    next(batches)
    assert made._epoch is not None
    assert made._epoch[0] > 0


class ConfusedSource(CountingSource):
    def __getitem__(self, index: int) -> Record:
        raise ConnectionResetError("the archive server went away")


def test_an_error_of_a_source_is_not_taken_for_the_death_of_a_worker(encoder: ConversationEncoder) -> None:
    source = ConfusedSource(CountingConfig(name="a", size=3))
    with pytest.raises(Exception, match="the archive server went away") as caught:
        next(Loader([source], encoder, batch_size=1, seed=0).batches(0))
    assert "worker" not in str(caught.value)
