"""Batches travel in one block of memory."""

import gc
import math
import multiprocessing
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.data.arena import ArenaGoneError, SharedArena, pack_arena, unpack_arena
from modrwkv_core.data.batch import Batch
from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.packing import pack
from modrwkv_core.interfaces.record import Media, Record, Text, Turn

# Where processes are forked, Python 3.12 warns of the threads that torch keeps.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

DTYPES = [torch.uint8, torch.bool, torch.int16, torch.int64, torch.bfloat16, torch.float32, torch.float64]
allocate = partial(torch.empty, dtype=torch.uint8)


@contextmanager
def torch_warnings_repeated() -> Iterator[None]:
    """Have torch give each warning every time, not only once in a process."""
    torch.set_warn_always(True)
    try:
        yield
    finally:
        torch.set_warn_always(False)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    values = torch.tensor(draw(st.lists(st.integers(0, 200), min_size=math.prod(shape), max_size=math.prod(shape))))
    tensor = values.reshape(shape).to(draw(st.sampled_from(DTYPES)))
    return tensor.mT if tensor.dim() >= 2 and draw(st.booleans()) else tensor


@given(st.lists(tensors(), max_size=6), st.lists(tensors(), max_size=3))
def test_tensors_and_arrays_come_back_as_views_of_one_block(originals: list[torch.Tensor], others: list[Any]) -> None:
    arrays = [other.float().numpy() for other in others]
    packed, arena = pack_arena({"tensors": originals, "arrays": arrays, "words": ("a", 1)}, allocate)
    found = unpack_arena(packed, arena)
    assert found["words"] == ("a", 1)
    for before, after in zip(originals, found["tensors"], strict=True):
        assert before.dtype == after.dtype
        assert torch.equal(before, after)
        assert before.numel() == 0 or after.untyped_storage().data_ptr() == arena.data_ptr()
    for before, after in zip(arrays, found["arrays"], strict=True):
        np.testing.assert_array_equal(before, after)
    arena.zero_()
    assert not any(tensor.any() for tensor in found["tensors"])
    assert len(packed.pickled) < 4096


def test_what_may_not_be_written_to_is_packed_without_a_warning() -> None:
    values = np.arange(6.0)
    values.flags.writeable = False
    with torch_warnings_repeated():
        packed, arena = pack_arena(values, allocate)
    np.testing.assert_array_equal(unpack_arena(packed, arena), values)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def send(queue: Any, received: Any, size: int) -> None:
    arena = SharedArena(size)
    packed, _ = pack_arena(torch.arange(size // 8), lambda _: arena.tensor())
    queue.put((packed, arena))
    received.wait()


def test_another_process_sees_the_memory_and_no_file_stays_open() -> None:
    context = multiprocessing.get_context("fork")
    queue, received = context.Queue(), context.Event()
    files = open_files()
    process = context.Process(target=send, args=(queue, received, 2**20))
    process.start()
    packed, arena = queue.get()
    memory = arena.tensor()
    received.set()
    process.join()
    del arena
    found = unpack_arena(packed, memory)
    assert torch.equal(found, torch.arange(2**17))
    del found, memory
    gc.collect()
    queue.close()
    queue.join_thread()
    process.close()
    del queue, process
    gc.collect()
    assert open_files() <= files


def sample_batch(encoder: ConversationEncoder) -> Batch:
    def record(index: int) -> Record:
        media = (Media("sound", list(range(index + 2))), Media("image", [float(index)]), Text(f"{index}?"))
        return Record(f"r:{index}", (Turn("user", media), Turn("assistant", (Text("yes"),))))

    return pack([encoder.sample(record(index)) for index in range(3)])


def contents(batch: Batch) -> list[torch.Tensor]:
    lengths = batch.cu_seqlens
    return [
        batch.ids,
        batch.supervised,
        batch.labels,
        *(lengths.device, lengths.first, lengths.last, lengths.sequence_starts),
        *batch.media_positions.values(),
        *(tensor for placed in batch.media for tensor in placed.item.tensors.values()),
    ]


def test_a_batch_moves_with_one_copy(encoder: ConversationEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    apart = sample_batch(encoder)
    packed, arena = pack_arena(apart, allocate)
    batch = replace(unpack_arena(packed, arena), arena=arena)
    copies = []
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_, **__: copies.append(tensor) or tensor.clone())
    moved = batch.to("cpu:0")  # another name of the same device
    assert [copy is arena for copy in copies] == [True]
    for before, after in zip(contents(apart), contents(moved), strict=True):
        assert before.dtype == after.dtype
        assert torch.equal(before, after)
        assert after.untyped_storage().data_ptr() == moved.arena.data_ptr() != arena.data_ptr()
    assert batch.to("cpu") is batch


def test_a_tensor_outside_the_arena_moves_alone(encoder: ConversationEncoder) -> None:
    packed, arena = pack_arena(sample_batch(encoder), allocate)
    batch = replace(unpack_arena(packed, arena), arena=arena, labels=torch.tensor([7, 8, 9]))
    assert batch.to("cpu:0").labels.tolist() == [7, 8, 9]


def test_memory_that_was_let_go_is_not_taken_for_another() -> None:
    arena = SharedArena(64)
    sent = pickle.loads(pickle.dumps(arena))
    sent_later = pickle.loads(pickle.dumps(arena))
    assert torch.equal(sent.tensor(), torch.zeros(64, dtype=torch.uint8))
    del arena
    gc.collect()
    others = [SharedArena(64) for _ in range(8)]  # one of them has its descriptor now
    with pytest.raises(ArenaGoneError):
        sent_later.tensor()
    assert others
