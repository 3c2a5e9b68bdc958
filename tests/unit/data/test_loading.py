import pickle
from collections import Counter
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.data.arena import unpack_arena
from modrwkv_core.data.batch import Batch
from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.loading import Loader, Share
from modrwkv_core.data.order import epoch_order, epoch_size
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
    visits = [[0, 3], [1, 2]]
    payloads = (dataset[visits] for dataset in (copy, made._loader.dataset))
    first, second = (unpack_arena(payload.packed, payload.memory())[0] for payload in payloads)
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


@given(st.integers(0, 40), st.integers(1, 9), st.none() | st.integers(1, 5))
def test_processes_share_a_batch_in_as_many_parts(length: int, size: int, micro_batch_size: int | None) -> None:
    batch = [[0, index] for index in range(length)]
    shares = [Share(rank, size, micro_batch_size).micro_batches(batch) for rank in range(size)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(item for share in shares for part in share for item in part) == batch
    sizes = [sum(map(len, share)) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert all(len(part) <= (micro_batch_size or length) for share in shares for part in share)
