"""Prompts that are read chunk by chunk."""

from __future__ import annotations

from typing import Self

import numpy as np
import pytest
import torch

from modrwkv_core.inference.prefill import Prefill
from modrwkv_core.inference.prefix_cache import PrefixCache
from modrwkv_core.inference.prompt import Prompt, PromptSegment
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Media, Text, Turn
from modrwkv_core.testing.fakes import FakeState

TURNS = (Turn("user", (Text("Say yes."),)), Turn("assistant", (Text("Yes."),)), Turn("user", (Text("Again."),)))


class ElsewhereState(FakeState):
    """Knows where it was moved to."""

    moved_to: torch.device | str | None = None

    def to(self, device: torch.device | str) -> Self:
        moved = super().to(device)
        moved.moved_to = device
        return moved


def test_a_cached_state_moves_to_the_model(session: Session) -> None:
    segment = Prompt(session, Request(TURNS), "float32").next_segment()
    cache = PrefixCache(ElsewhereState, 2**20)
    longest = max(position for position in segment.keys if position < len(segment.ids))
    cache.put(segment.keys[longest], ElsewhereState(torch.zeros(1, 4)))
    prefill = Prefill(session.model, 512, cache=cache)
    prefill.begin(segment)
    prefill._skip(segment, cache)
    assert prefill.position == longest
    assert isinstance(prefill.state, ElsewhereState)
    assert prefill.state.moved_to == session.model.device


def test_keys_tell_variants_apart_and_cost_nothing_without_a_cache(session: Session) -> None:
    keys = [Prompt(session, Request(TURNS), variant).next_segment().keys for variant in ("float32", "float32", "int8")]
    assert keys[0] == keys[1]
    assert not set(keys[0].values()) & set(keys[2].values())
    session.model_digest = None  # would be computed
    assert Prompt(session, Request(TURNS)).next_segment().keys == {}


def segments(prompt: Prompt) -> list[PromptSegment]:
    made = [prompt.next_segment()]
    while not made[-1].is_last:
        made.append(prompt.next_segment())
    return made


def test_segments_are_read_as_the_whole_prompt(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = Media("series", np.sin(np.arange(48, dtype=np.float32)))
    request = Request((Turn("user", (wave, Text("What is it?"), wave, Text("And that?"))),))
    [whole] = segments(Prompt(session, request, "float32"))
    monkeypatch.setattr("modrwkv_core.inference.prompt.PREFILL_CHUNK", 1)
    prompt = Prompt(session, request, "float32")
    parts = segments(prompt)
    assert len(parts) == 5
    assert prompt.num_tokens == len(whole.ids)
    assert [key for part in parts for key in part.keys.values()][-1] == whole.keys[len(whole.ids)]
    cache = PrefixCache(type(session.model.backbone.init_state(1)), 2**20)
    found = []
    for made, states in (([whole], None), (parts, None), (parts, cache), (parts, cache)):
        prefill = Prefill(session.model, 512, cache=states)
        with torch.inference_mode():
            for part in made:
                prefill.begin(part)
                while not (prefill.needs_segment or prefill.is_complete):
                    prefill.advance()
        assert prefill.hidden is not None
        found.append(prefill.hidden)
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert torch.equal(found[1], found[2])
    assert torch.equal(found[1], found[3])
    assert prefill.cached_tokens == len(whole.ids) - len(parts[-1].ids)


def test_short_turns_are_read_in_one_pass(session: Session) -> None:
    long, wave = Text("word " * 20), Media("series", np.sin(np.arange(48, dtype=np.float32)))
    turns = (*TURNS, Turn("assistant", (long,)), Turn("user", (Text("So?"),)), Turn("assistant", (wave,)))
    segment = Prompt(session, Request((*turns, Turn("user", (Text("Why?"),))))).next_segment()
    special = session.model.tokenizer.special
    ids = segment.ids.tolist()
    ends = [position + 1 for position, token in enumerate(ids) if token == special.turn_end]
    before_the_long_turn, after_it = ends[2], ends[3]
    media_end = ids.index(special.media_end) + 1
    assert segment.boundaries == (before_the_long_turn, after_it, media_end, len(ids))
