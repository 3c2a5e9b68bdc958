"""flash-linear-attention computes with a converted model what the backbone computes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from modrwkv_core.backbones.rwkv7 import RWKV7
from modrwkv_core.interop.backbone import write_backbone


@pytest.mark.filterwarnings("ignore")  # the library warns of its own arithmetic, and of what it finds on the machine
@torch.no_grad()
def test_the_library_computes_the_same(make_backbone: Any, tmp_path: Path) -> None:
    pytest.importorskip("fla", reason="flash-linear-attention is not installed")
    library = importlib.import_module("fla.models.rwkv7").RWKV7ForCausalLM
    write_backbone(make_backbone(), tmp_path / "hub", "fla")
    write_backbone(make_backbone(), tmp_path / "backbone.pth", "pth")
    theirs = library.from_pretrained(tmp_path / "hub", dtype=torch.float32, fuse_norm=False).cuda().eval()
    ours = RWKV7.from_checkpoint(tmp_path / "backbone.pth", dtype=torch.float64)
    ids = torch.randint(96, (1, 40), generator=torch.Generator().manual_seed(0))
    expected = ours.logits(ours(ours.embed(ids))[0])
    logits = theirs(ids.cuda(), use_cache=False).logits.double().cpu()
    torch.testing.assert_close(logits, expected, rtol=0, atol=2e-3)
