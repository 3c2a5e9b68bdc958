"""Answers do not depend on what decodes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from modrwkv_kernels.native import native_unavailable_reason

from modrwkv_core.errors import ComponentError
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.decoding import BackboneDecoder
from modrwkv_core.interfaces.record import Text, Turn
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble

QUESTIONS = [[Turn("user", (Text(f"Say {word} twice."),))] for word in ("yes", "no", "so")]


@pytest.mark.skipif(native_unavailable_reason() is not None, reason=str(native_unavailable_reason()))
def test_the_compiled_decoder_answers_as_the_backbone_does(tiny_manifest: Callable[..., Path], tmp_path: Path) -> None:
    torch.manual_seed(0)
    loaded = load_manifest(tiny_manifest())
    model = assemble(loaded, pretrained=False).eval()
    for parameter in model.backbone.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    session = Session(loaded, model, tmp_path)
    found = session.answer(QUESTIONS, 20), session.generate("Say yes twice.", max_tokens=20)
    assert not isinstance(session.decoders["lm"], BackboneDecoder)
    session.decoders["lm"] = BackboneDecoder(model.backbone)
    assert found == (session.answer(QUESTIONS, 20), session.generate("Say yes twice.", max_tokens=20))
    assert len(set(found[0])) > 1


def test_weights_that_cannot_be_had_are_refused_before_anything_is_asked(
    tiny_manifest: Callable[..., Path], tmp_path: Path
) -> None:
    loaded = load_manifest(tiny_manifest())
    with pytest.raises(ComponentError, match="fp8"):
        Session(loaded, assemble(loaded, pretrained=False).eval(), tmp_path, weights="fp8")
