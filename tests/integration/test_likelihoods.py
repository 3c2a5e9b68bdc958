"""How likely a session holds texts: the same as training's loss, however texts are batched and cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from modrwkv_core.data.packing import pack
from modrwkv_core.errors import DataError
from modrwkv_core.inference import likelihood
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Media, Record, Text, Turn
from modrwkv_core.model.assemble import conversation_encoder

QUESTION = (Turn("user", (Media("series", np.sin(np.arange(24.0))), Text("Up or down?"))),)
SHORT = (Turn("user", (Text("Well?"),)),)


def test_answers_are_as_likely_as_in_training(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    conversations, answers = [QUESTION, QUESTION, SHORT], ["up", "it goes down, ever down", "ja"]
    found = session.log_likelihoods(conversations, answers)
    encoder = conversation_encoder(session.model, max_tokens=None)
    for turns, answer, one in zip(conversations, answers, found, strict=True):
        sample = encoder.sample(Record("r", (*turns, Turn("assistant", (Text(answer),)))))
        with torch.no_grad():
            loss = session.model.losses(pack([sample]))["lm"]
        assert one.tokens == len(answer) + 1  # bytes, and the end of the turn
        assert one.total == pytest.approx(-float(loss) * one.tokens, rel=1e-4)
    # In chunks of few tokens and logits, the same.
    monkeypatch.setattr(likelihood, "_TOKENS", 9)
    monkeypatch.setattr(likelihood, "_LOGITS", 2)
    for one, again in zip(found, session.log_likelihoods(conversations, answers), strict=True):
        assert again.total == pytest.approx(one.total, rel=1e-4)


def test_plain_text_is_read_from_the_beginning_of_a_text(session: Session) -> None:
    text = "in my palm"
    ids = torch.tensor([[0, *session.model.tokenizer.encode(text)]])
    backbone = session.model.backbone
    with torch.no_grad():
        logits = backbone.logits(backbone(backbone.embed(ids))[0][0]).log_softmax(-1)
    each = logits[:-1].gather(1, ids[0, 1:, None])[:, 0]
    [whole] = session.log_likelihoods([()], [text], chat=False)
    assert (whole.total, whole.tokens) == (pytest.approx(float(each.sum()), rel=1e-4), len(text))
    first = (Turn("user", (Text("in my"),)),)
    [last] = session.log_likelihoods([first], [" palm"], chat=False)
    assert last.total == pytest.approx(float(each[5:].sum()), rel=1e-4)


def test_tokens_are_as_likely_as_their_text(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = session.model.tokenizer.encode
    [plain] = session.log_likelihoods([(Turn("user", (Text("in my"),)),)], [" palm"], chat=False)
    [end] = session.log_likelihoods([()], ["x"], chat=False)
    contexts, continuations = [[0, *encode("in my")], [0], [0, *encode("in my")]], [" palm", "x", " p"]
    found = session.token_log_likelihoods(contexts, [encode(text) for text in continuations])
    assert [one.total for one in found[:2]] == pytest.approx([plain.total, end.total], rel=1e-4)
    # In segments of few tokens, the same.
    monkeypatch.setattr("modrwkv_core.inference.session.PREFILL_CHUNK", 2)
    again = session.token_log_likelihoods(contexts, [encode(text) for text in continuations])
    assert [one.total for one in again] == pytest.approx([one.total for one in found], rel=1e-4)


def test_the_end_of_an_answer_is_scored_on_demand(session: Session) -> None:
    ids = session.conversations.prompt(SHORT).ids.tolist()
    answer, end = session.model.tokenizer.encode("ja"), session.model.tokenizer.special.turn_end
    whole, begun = (session.log_likelihoods([SHORT], ["ja"], end=scored) for scored in (True, False))
    [expected] = session.token_log_likelihoods([ids], [answer])
    [closing] = session.token_log_likelihoods([[*ids, *answer]], [[end]])
    assert begun[0].total == pytest.approx(expected.total, rel=1e-4)
    assert whole[0].total == pytest.approx(expected.total + closing.total, rel=1e-4)
    assert (begun[0].tokens, whole[0].tokens) == (2, 3)


def test_what_greedy_decoding_gives_is_greedy(session: Session) -> None:
    state_text = session.answer([SHORT], 3)[0]
    rows = session.log_likelihoods([SHORT, SHORT], ["x" if state_text[:1] != "x" else "y", "zzz"])
    assert not any(row.greedy for row in rows)
    # Plain text: take the likeliest byte after "a" that is a letter of text, whatever it is.
    ids = torch.tensor([[0, *session.model.tokenizer.encode("a")]])
    backbone = session.model.backbone
    with torch.no_grad():
        best = int(backbone.logits(backbone(backbone.embed(ids))[0][0, -1]).argmax())
    for byte in range(32, 127):
        text = chr(byte)
        [one] = session.log_likelihoods([(Turn("user", (Text("a"),)),)], [text], chat=False)
        assert one.greedy is (session.model.tokenizer.encode(text) == [best])


def test_what_cannot_be_scored_is_refused(session: Session) -> None:
    with pytest.raises(DataError, match="an empty text has no likelihood"):
        session.log_likelihoods([SHORT], [""])
    with pytest.raises(DataError, match="plain text holds no media"):
        session.log_likelihoods([QUESTION], ["up"], chat=False)
    for contexts, continuations in ([[]], [[1]]), ([[0]], [[]]):
        with pytest.raises(DataError, match="an empty context or continuation"):
            session.token_log_likelihoods(contexts, continuations)
    assert session.log_likelihoods([], []) == []
