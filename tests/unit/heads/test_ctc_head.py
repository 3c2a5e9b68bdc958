from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from modrwkv_core.data.batch import IGNORE, PlacedMedia, Sample
from modrwkv_core.data.packing import pack
from modrwkv_core.heads.config import CtcConfig
from modrwkv_core.heads.ctc import CtcHead
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_core.testing.fakes import FakeBackbone, FakeBackboneConfig


def head(vocab_size: int = 3) -> CtcHead:
    torch.manual_seed(0)
    return CtcHead(CtcConfig(modality="audio"), FakeBackbone(FakeBackboneConfig(hidden_size=4), vocab_size))


def collapsed(path: tuple[int, ...], blank: int) -> list[int]:
    return [token for place, token in enumerate(path) if token != blank and (place == 0 or path[place - 1] != token)]


@pytest.mark.parametrize("ids", [[0], [1, 2], [2, 2]])
def test_loss_is_the_likelihood_of_all_alignments(ids: list[int]) -> None:
    """By summing over every path, as the definition says."""
    ctc, values = head(), torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(1))
    probabilities = ctc.projection(values)[0].softmax(-1)
    likelihood = sum(
        torch.stack([probabilities[place, token] for place, token in enumerate(path)]).prod()
        for path in product(range(4), repeat=4)
        if collapsed(path, ctc.blank) == ids
    )
    assert isinstance(likelihood, Tensor)
    loss = ctc.supervise(Features(values, torch.tensor([4])), [torch.tensor(ids)])
    torch.testing.assert_close(loss, -likelihood.log() / len(ids))


def test_more_tokens_than_vectors_do_not_count() -> None:
    hidden = Features(torch.randn(2, 3, 4), torch.tensor([3, 2]))
    fits, does_not = torch.tensor([0, 1]), torch.tensor([0, 1, 2])
    alone = head().supervise(Features(hidden.values[:1], torch.tensor([3])), [fits])
    torch.testing.assert_close(head().supervise(hidden, [fits, does_not]), alone / 2)


def test_the_likeliest_path_loses_repetitions_and_blanks() -> None:
    ctc = head()
    with torch.no_grad():
        ctc.projection.weight.copy_(torch.eye(4))
        ctc.projection.bias.zero_()
    path = [3, 0, 0, 3, 0, 1, 1, 2, 3]
    values = torch.nn.functional.one_hot(torch.tensor([path, path]), 4).float()
    assert ctc.predict(Features(values, torch.tensor([9, 3]))) == [[0, 0, 1, 2], [0]]


def sample(media: list[tuple[str, int]], supervised: list[int], tokens: int = 12) -> Sample:
    ids = torch.arange(tokens)
    targets = torch.full((tokens,), IGNORE)
    for position in supervised:
        targets[position] = ids[position] + 1
    item = MediaItem({}, 1)
    placed = tuple(PlacedMedia(name, item, position, 1, "key") for name, position in media)
    return Sample("key", ids, targets, placed, {})


def test_words_belong_to_the_medium_before_them() -> None:
    batch = pack(
        [
            sample([("audio", 2), ("audio", 6)], supervised=[4, 8, 9]),
            sample([], supervised=[5]),
            sample([("image", 1), ("audio", 3)], supervised=[7, 8]),
            sample([("audio", 3), ("image", 5)], supervised=[7, 8]),
        ]
    )
    heard = [(placed.position, batch.labels[words].tolist()) for placed, words in batch.transcribed("audio")]
    assert heard == [(2, [5]), (6, [9, 10]), (27, [8, 9])]
    assert [placed.position for placed, _ in batch.transcribed("image")] == [41]
    assert pack([sample([], supervised=[1])]).transcripts == ()
