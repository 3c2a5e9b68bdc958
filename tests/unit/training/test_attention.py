"""Which kernels of attention training may choose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.training import loop
from modrwkv_core.training.attention import no_cudnn_attention
from modrwkv_core.training.phase import PhaseRun


@pytest.mark.parametrize("before", [True, False])
def test_cudnn_serves_attention_again_as_it_did_before(before: bool) -> None:
    found = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(before)
    try:
        with no_cudnn_attention():
            assert not torch.backends.cuda.cudnn_sdp_enabled()
        assert torch.backends.cuda.cudnn_sdp_enabled() == before
    finally:
        torch.backends.cuda.enable_cudnn_sdp(found)


def test_training_keeps_cudnn_out_of_attention(
    tiny_manifest: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    take_step = PhaseRun.take_step

    def spy(*arguments: object) -> None:
        seen.append(torch.backends.cuda.cudnn_sdp_enabled())
        take_step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PhaseRun, "take_step", spy)
    loop.train(load_manifest(tiny_manifest()), tmp_path / "run", resume=False, device="cpu", progress_bar=False)
    assert seen
    assert not any(seen)
