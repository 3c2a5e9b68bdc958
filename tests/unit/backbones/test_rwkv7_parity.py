"""The judge: BlinkDL's own package `rwkv` reads the same .pth and must say the same."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from modrwkv_core.backbones.rwkv7 import RWKV7

PREFILL, DECODE = 512, 64


def official_model(path: Path) -> Any:
    os.environ["RWKV_V7_ON"] = "1"
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        from rwkv.model import RWKV

        return RWKV(model=str(path.with_suffix("")), strategy="cpu fp32")


def error(ours: Tensor, theirs: Tensor) -> float:
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@pytest.mark.parametrize(("num_layers", "hidden_size", "vocab"), [(3, 128, 1000), (2, 256, 65536)])
@torch.no_grad()
def test_agrees_with_the_official_package(
    make_model: Any, tmp_path: Path, num_layers: int, hidden_size: int, vocab: int
) -> None:
    path = tmp_path / "model.pth"
    random = make_model(num_layers=num_layers, hidden_size=hidden_size, head_dim=64, vocab=vocab, dtype=torch.bfloat16)
    torch.save(random.state_dict(), path)
    judge, model = official_model(path), RWKV7.from_checkpoint(path)
    ids = torch.randint(0, vocab, (PREFILL + DECODE,)).tolist()

    theirs, their_state = judge.forward(ids[:PREFILL], None, full_output=True)
    hidden, state = model(model.embed(torch.tensor([ids[:PREFILL]])))
    assert error(model.logits(hidden)[0], theirs) < 1e-5

    for token in ids[PREFILL:]:
        theirs, their_state = judge.forward(token, their_state)
        hidden, state = model(model.embed(torch.tensor([[token]])), state)
        assert error(model.logits(hidden)[0, 0], theirs) < 1e-5

    for layer in range(num_layers):
        time_shift, matrix, channel_shift = their_state[3 * layer : 3 * layer + 3]
        assert error(state.matrix[layer, 0], matrix) < 1e-5
        assert error(state.time_shift[layer, 0], time_shift) < 1e-5
        assert error(state.channel_shift[layer, 0], channel_shift) < 1e-5
