"""Prompts that are read chunk by chunk."""

from __future__ import annotations

from typing import Self

import torch

from modrwkv_core.inference.prefill import Prefill, Prompt
from modrwkv_core.inference.prefix_cache import PrefixCache
from modrwkv_core.inference.request import Request
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Text, Turn
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
    prompt = Prompt.of(session, Request(TURNS))
    cache = PrefixCache(ElsewhereState, 2**20)
    longest = max(position for position in prompt.keys if position < len(prompt.ids))
    cache.put(prompt.keys[longest], ElsewhereState(torch.zeros(1, 4)))
    prefill = Prefill(session.model, prompt, 512, cache=cache)
    prefill._skip(cache)
    assert prefill.position == longest
    assert isinstance(prefill.state, ElsewhereState)
    assert prefill.state.moved_to == session.model.device
