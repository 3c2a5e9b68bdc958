"""Ten million records: the first batch comes at once, and memory is flat, in the trainer and in its workers."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.loading import Loader
from modrwkv_core.data.tokenizers.bytes import BytesTokenizer
from modrwkv_core.data.tokenizers.config import BytesConfig
from modrwkv_core.heads.config import LanguageModelConfig
from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.interfaces.record import Record, Text, Turn
from modrwkv_core.interfaces.source import Source

RECORDS = 10_000_000
MIB = 2**20

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class ManyConfig(SourceConfig):
    source: Literal["many"] = "many"


class Many(Source[ManyConfig]):
    """Conversations that are made when they are asked for."""

    def __len__(self) -> int:
        return RECORDS

    def __getitem__(self, index: int) -> Record:
        question, answer = Text("why " * (index % 10 + 1)), Text("so")
        return Record(str(index), (Turn("user", (question,)), Turn("assistant", (answer,))))


@pytest.fixture
def encoder() -> ConversationEncoder:
    """Bytes and the language model."""
    return ConversationEncoder(BytesTokenizer(BytesConfig()), {}, {"lm": LanguageModelConfig()})


def loader(encoder: ConversationEncoder, *, budget: bool, workers: int) -> Loader:
    if not budget:
        return Loader([Many(ManyConfig())], encoder, batch_size=16, seed=0, augment=True, workers=workers)
    shortest = encoder.num_tokens(Many(ManyConfig())[0])
    lengths = (np.arange(RECORDS) % 10 * len("why ") + shortest).astype(np.uint32)
    return Loader(
        [Many(ManyConfig())],
        encoder,
        batch_size=None,
        max_tokens_per_batch=640,
        lengths=[lengths],
        seed=0,
        workers=workers,
    )


def children() -> list[str]:
    """Return the numbers of this process's children."""
    own = Path("/proc/self")
    return (own / "task" / own.resolve().name / "children").read_text().split()


def resident(*processes: str) -> list[int]:
    """Return what processes occupy, in bytes."""
    pages = [int((Path("/proc") / process / "statm").read_text().split()[1]) for process in processes]
    return [count * resource.getpagesize() for count in pages]


@pytest.mark.parametrize("budget", [False, True])
def test_the_first_batch_takes_no_memory(encoder: ConversationEncoder, budget: bool) -> None:
    made = loader(encoder, budget=budget, workers=0)
    [before] = resident("self")
    next(made.batches_from(0))
    [after] = resident("self")
    assert after - before < 64 * MIB, "an order of all records takes 80 MB for each number of it"


@pytest.mark.slow
@pytest.mark.parametrize("budget", [False, True])
def test_memory_is_flat_over_many_batches(encoder: ConversationEncoder, budget: bool) -> None:
    # Tests before this one may have left children that serve forks.
    others = children()
    batches = loader(encoder, budget=budget, workers=1).batches_from(0)
    held = []
    for count in range(20_001):
        next(batches)
        if count in (1000, 20_000):
            [worker] = set(children()) - set(others)
            held.append(resident("self", worker))
    for early, late in zip(*held, strict=True):
        assert late - early < 16 * MIB
