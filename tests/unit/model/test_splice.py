"""The splice writes exactly the placeholders and lets gradients through."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modrwkv_core.data.batch import PlacedMedia
from modrwkv_core.errors import WiringError
from modrwkv_core.interfaces.values import Features, MediaItem
from modrwkv_core.model.splice import splice

WIDTH = 3


def placed(modality: str, position: int, count: int) -> PlacedMedia:
    return PlacedMedia(modality, MediaItem({}, count), position, count, key="talk.jsonl:7")


def features(*lengths: int, first: float) -> Features:
    values = torch.zeros(len(lengths), max(lengths), WIDTH)
    for item, length in enumerate(lengths):
        values[item, :length] = first + 10 * item + torch.arange(length)[:, None]
    return Features(values, torch.tensor(lengths))


def spliced(text: torch.Tensor, media: list[PlacedMedia], by_modality: dict[str, Features]) -> torch.Tensor:
    positions = {
        name: torch.tensor([p.position + i for p in media if p.modality == name for i in range(p.count)])
        for name in by_modality
    }
    return splice(text, media, positions, by_modality)


@given(st.lists(st.tuples(st.sampled_from(["image", "audio", "smell"]), st.integers(1, 4)), max_size=6))
def test_any_mix_in_any_order_lands_at_its_own_placeholders(kinds: list[tuple[str, int]]) -> None:
    media, position = [], 0
    for modality, count in kinds:
        position += 2
        media.append(placed(modality, position, count))
        position += count
    tokens = position + 2
    text = torch.full((1, tokens, WIDTH), -1.0)
    by_modality = {
        name: features(*(item.count for item in media if item.modality == name), first=100.0 * place)
        for place, name in enumerate(["image", "audio", "smell"], start=1)
        if any(item.modality == name for item in media)
    }
    out = spliced(text, media, by_modality)
    expected = text.clone()
    for name in by_modality:
        for order, item in enumerate([item for item in media if item.modality == name]):
            for offset in range(item.count):
                first = 100.0 * (["image", "audio", "smell"].index(name) + 1)
                expected[0, item.position + offset] = first + 10 * order + offset
    assert torch.equal(out, expected)
    assert torch.equal(text, torch.full_like(text, -1.0))


def test_gradients_reach_text_and_features_but_not_the_overwritten_embeddings() -> None:
    text = torch.zeros(1, 4, WIDTH, requires_grad=True)
    values = torch.ones(1, 2, WIDTH, requires_grad=True)
    spliced(text, [placed("image", 1, 2)], {"image": Features(values, torch.tensor([2]))}).sum().backward()
    assert text.grad is not None
    assert text.grad[0, :, 0].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert torch.equal(values.grad, torch.ones_like(values))


def test_a_count_mismatch_names_the_conversation_and_both_counts() -> None:
    with pytest.raises(WiringError, match=r"talk\.jsonl:7: the image gives 3 feature vectors for 2 placeholders"):
        spliced(torch.zeros(1, 4, WIDTH), [placed("image", 1, 2)], {"image": features(3, first=0.0)})
