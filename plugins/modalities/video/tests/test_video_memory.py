"""A long film is read in the memory of a short one."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yaml

SOUND_RATE = 8000

VISION = {"image_size": 256, "patch_size": 64, "hidden_size": 12, "num_layers": 1, "num_heads": 2}
HEARING = {
    "type": "wavlm", "init": "scratch", "rate": SOUND_RATE, "conv_dim": [8, 8], "conv_kernel": [400, 4],
    "conv_stride": [400, 4], "hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 16,
    "position_kernel": 4, "position_groups": 2,
}  # fmt: skip

MANIFEST: dict[str, Any] = {
    "modrwkv": 1,
    "name": "films",
    "tokenizer": {"type": "bytes"},
    "backbone": {"type": "rwkv7", "num_layers": 1, "hidden_size": 64},
    "modalities": {
        "video": {
            "encoder": {
                "type": "video_frames",
                "fps": 1.0,
                "max_frames": 10000,
                "timestamps": True,
                "sound": True,
                "encoder": {"type": "siglip2", "init": "scratch", "intermediate_size": 16, **VISION},
            },
            "compressor": {"type": "pool2d", "kernel": 2},
            "adapter": {"type": "mlp", "expansion": 1},
        },
        "audio": {"encoder": HEARING, "adapter": {"type": "mlp", "expansion": 1}},
    },
    "heads": {"lm": {"type": "lm"}},
    "data": {"train": [{"source": "chat", "path": "talks.jsonl"}]},
    "phases": [{"name": "pretrain", "train": ["adapter"], "lr": 1e-3, "steps": 1}],
}

READER = """
import resource, sys
from pathlib import Path
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Media, Text, Turn
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model import multimodal
from modrwkv_core.model.assemble import assemble

prefill, tokens = multimodal.MultimodalModel.prefill, 0
def counted(model, batch, state=None):
    global tokens
    tokens += batch.ids.shape[1]
    return prefill(model, batch, state)
multimodal.MultimodalModel.prefill = counted

loaded = load_manifest(Path(sys.argv[1]))
session = Session(loaded, assemble(loaded, pretrained=False).eval(), Path("."))
for film in sys.argv[2:]:
    tokens = 0
    session.prefill([(Turn("user", (Media("video", Path(film)), Text("What happens?"))),)])
    print(tokens, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
"""Reads films and prints of each its number of tokens and the most memory that the process had so far, in KiB."""


def write_film(path: Path, seconds: int) -> Path:
    """Write a film of one frame a second, in which a bar moves over noise, with the sound of a rising tone."""
    draw = np.random.default_rng(0)
    backgrounds = draw.integers(60, 120, (7, 48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as file:
        pictures: Any = file.add_stream("libx264", rate=1, options={"preset": "ultrafast", "g": "30"})
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sound: Any = file.add_stream("aac", rate=SOUND_RATE, layout="mono")
        for second in range(seconds):
            pixels = backgrounds[second % 7].copy()
            pixels[:, second % 60 : second % 60 + 4] = 250
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = second, Fraction(1, 1)
            file.mux(pictures.encode(frame))
            tone = 0.3 * np.sin(2 * np.pi * (200 + second % 100) * np.arange(SOUND_RATE) / SOUND_RATE)
            heard = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), format="fltp", layout="mono")
            heard.sample_rate, heard.time_base, heard.pts = SOUND_RATE, Fraction(1, SOUND_RATE), second * SOUND_RATE
            file.mux(sound.encode(heard))
        file.mux(pictures.encode())
        file.mux(sound.encode())
    return path


@pytest.mark.parametrize(
    ("short", "long"),
    [(100, 420), pytest.param(300, 7200, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
    ids=["minutes", "two_hours"],
)
def test_memory_does_not_grow_with_the_film(tmp_path: Path, short: int, long: int) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(yaml.safe_dump(MANIFEST))
    films = [str(write_film(tmp_path / f"{seconds}.mp4", seconds)) for seconds in (short, long)]
    command = [sys.executable, "-c", READER, str(manifest), *films]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    (few, memory_of_short), (many, memory_of_long) = (map(int, line.split()) for line in ran.stdout.splitlines())
    print(f"{short} s: {few} tokens, {memory_of_short} KiB; {long} s: {many} tokens, {memory_of_long} KiB")  # noqa: T201
    assert many > 0.95 * few * long / short, "the whole film is read"
    # Of the pictures alone, each second has 196 KiB.
    assert memory_of_long < 1.05 * memory_of_short
