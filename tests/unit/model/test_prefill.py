"""A long prompt is read in chunks; what comes after it is the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from modrwkv_core.data.packing import pack
from modrwkv_core.inference.prompts import prefill_segments
from modrwkv_core.interfaces.record import Media, Text, Turn
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model import multimodal
from modrwkv_core.model.assemble import assemble, conversation_encoder


@pytest.mark.parametrize("chunk", [1, 7, 16, 60])
def test_chunks_give_what_one_go_gives(
    tiny_manifest: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    torch.manual_seed(0)
    model = assemble(load_manifest(tiny_manifest()), pretrained=False).eval()
    series = Media("series", np.sin(np.arange(32.0)))
    turns = [
        Turn("user", (Text("How does it go on?"), series, Text("Tell."), series)),
        Turn("user", (Text("Hi"),)),
        Turn("user", (series,)),
    ]
    encoder = conversation_encoder(model, max_tokens=None)
    batch = pack([encoder.prompt([turn]) for turn in turns])
    with torch.inference_mode():
        hidden, state = model.prefill(batch)
        monkeypatch.setattr(multimodal, "PREFILL_CHUNK", chunk)
        chunked, chunked_state = model.prefill(batch)
        torch.testing.assert_close(chunked, hidden, atol=1e-5, rtol=1e-4)
        again = model.backbone.embed(torch.tensor([[5], [6], [7]]))
        torch.testing.assert_close(
            model.backbone.prefill(again, state=chunked_state)[0],
            model.backbone.prefill(again, state=state)[0],
            atol=1e-5,
            rtol=1e-4,
        )


def test_conversations_that_fit_into_a_chunk_are_read_together(
    tiny_manifest: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = assemble(load_manifest(tiny_manifest()), pretrained=False).eval()
    series = Media("series", np.sin(np.arange(32.0)))
    turns = [Turn("user", (Text("Hi"),)), Turn("user", (series, Text("And?"))), Turn("user", (Text("Well" * 40),))]
    samples = [conversation_encoder(model, max_tokens=None).prompt([turn]) for turn in turns * 3]
    lengths = [len(sample.ids) for sample in samples]
    chunk = lengths[0] + lengths[1]
    assert lengths[2] > chunk
    read: list[int] = []
    prefill = model.backbone.prefill
    batch = pack(samples)
    with torch.inference_mode():
        hidden, state = model.prefill(batch)
        monkeypatch.setattr(multimodal, "PREFILL_CHUNK", chunk)
        monkeypatch.setattr(
            model.backbone, "prefill", lambda x, **given: read.append(x.shape[1]) or prefill(x, **given)
        )
        for before in (None, state):
            read.clear()
            grouped, after = model.prefill(batch, before)
            assert read == [chunk, *[chunk] * (lengths[2] // chunk), lengths[2] % chunk] * 3
            expected = hidden if before is None else model.forward(batch, state)[0][0, batch.cu_seqlens.last]
            torch.testing.assert_close(grouped, expected, atol=1e-5, rtol=1e-4)
            assert after.batch_size == len(samples)


@pytest.mark.parametrize("tokens", [1, 9, 30, 1000])
def test_segments_give_what_whole_prompts_give(
    tiny_manifest: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    torch.manual_seed(0)
    model = assemble(load_manifest(tiny_manifest()), pretrained=False).eval()
    series = Media("series", np.sin(np.arange(32.0)))
    turns = [
        (Turn("user", (Text("Hi"),)),),
        (Turn("user", (Text("How does it go on?"), series, Text("Tell."), series)),),
        (Turn("user", (series,)), Turn("assistant", (Text("Up."),)), Turn("user", (series, Text("And now?")))),
    ]
    encoder = conversation_encoder(model, max_tokens=None)
    with torch.inference_mode():
        hidden, state = model.prefill(pack([encoder.prompt(each) for each in turns]))
        monkeypatch.setattr(multimodal, "PREFILL_CHUNK", 25)  # so that segments are read in chunks, too
        found, found_state = prefill_segments(model, [encoder.prompt_segments(each, tokens) for each in turns])
        torch.testing.assert_close(found, hidden, atol=1e-5, rtol=1e-4)
        again = model.backbone.embed(torch.tensor([[5], [6], [7]]))
        torch.testing.assert_close(
            model.backbone.prefill(again, state=found_state)[0],
            model.backbone.prefill(again, state=state)[0],
            atol=1e-5,
            rtol=1e-4,
        )
