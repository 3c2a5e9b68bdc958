"""Answers of a session."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Text, Turn

QUESTIONS = ["Say yes.", "Say no twice, and slowly.", "x", "Say so."]


def test_answers_that_have_ended_are_not_continued(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = {*range(97, 123), *session.ends}
    session.banned = torch.tensor([token for token in range(session.model.backbone.vocab_size) if token not in letters])
    alone = [session.generate(question, max_tokens=200) for question in QUESTIONS]
    decoder = session.decoders["lm"]
    start, rows = type(decoder).start, []

    def counted(self: Any, state: Any) -> Any:
        decoding = start(self, state)
        step = decoding.step

        def count(ids: torch.Tensor) -> torch.Tensor:
            rows.append(len(ids))
            logits: torch.Tensor = step(ids)
            return logits

        decoding.step = count
        return decoding

    monkeypatch.setattr(type(decoder), "start", counted)
    turns = [[Turn("user", (Text(question),))] for question in QUESTIONS]
    assert session.answer(turns, 200) == alone
    # A letter is a token, and the end that follows it is not read.
    lengths = [len(answer) for answer in alone]
    assert len(set(lengths)) > 1, "choose another seed: the answers must end one after the other"
    assert rows == [sum(length > step for length in lengths) for step in range(min(max(lengths), 199))]
