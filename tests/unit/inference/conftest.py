"""A tiny model whose answers differ and go on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from modrwkv_core.inference.session import Session


@pytest.fixture
def greedy(session: Session) -> Callable[[list[int], int], list[int]]:
    """Continue ids with the backbone's forward pass, which reads all of them again for each token."""

    def judge(ids: list[int], max_tokens: int) -> list[int]:
        backbone = session.model.backbone
        drawn: list[int] = []
        for _ in range(max_tokens):
            with torch.no_grad():
                hidden, _ = backbone(backbone.embed(torch.tensor([[*ids, *drawn]])))
                logits = backbone.logits(hidden[0, -1]).index_fill(0, session.banned, float("-inf"))
            drawn.append(int(logits.argmax()))
        return drawn

    return judge
