"""Recordings of any length through the program, from files and pipes, in memory that does not grow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from numpy.typing import NDArray

from modrwkv_core.cli.transcribe import transcribe
from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.loading import load
from modrwkv_core.interfaces.record import Media, Turn
from modrwkv_core.interfaces.signals import Waveform
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.training.loop import train

Manifest = Callable[..., Path]
RATE = 8_000
MIB = 2**20
ENCODER = {
    "type": "wavlm",
    "init": "scratch",
    "rate": RATE,
    "conv_dim": [16, 16],
    "conv_kernel": [160, 8],
    "conv_stride": [80, 4],
    "conv_norm": "layer",
    "hidden_size": 16,
    "num_layers": 1,
    "num_heads": 2,
    "intermediate_size": 16,
    "position_kernel": 16,
    "position_groups": 4,
}


def sound(seconds: float, seed: int = 0) -> NDArray[np.int16]:
    samples = np.random.default_rng(seed).normal(0.0, 3_000.0, round(seconds * RATE))
    return np.clip(samples, -32_000, 32_000).astype(np.int16)


@pytest.fixture
def make_run(tiny_manifest: Manifest, tmp_path: Path) -> Callable[..., Path]:
    """Train a run that hears, hardly: it says something of every window."""

    def make(**heads: Any) -> Path:
        return _train(tiny_manifest, tmp_path, heads)

    return make


@pytest.fixture
def hearing_run(make_run: Callable[..., Path]) -> Path:
    return make_run(lm={"type": "lm"})


def _train(tiny_manifest: Manifest, folder: Path, heads: dict[str, Any]) -> Path:
    path = tiny_manifest(
        modalities={
            "audio": {
                "encoder": ENCODER,
                "compressor": {"type": "conv1d", "kernel": 3, "stride": 2},
                "adapter": {"type": "mlp", "expansion": 1},
            }
        },
        heads=heads,
        data={"train": [{"source": "labeled_audio", "path": "sounds.csv"}], "batch_size": 2},
        phases=[{"name": "only", "train": ["adapter", "backbone"], "lr": 1e-3, "steps": 2}],
    )
    for index in range(2):
        soundfile.write(path.parent / f"{index}.wav", sound(1.0, index), RATE)
    (path.parent / "sounds.csv").write_text("path,text\n0.wav,one\n1.wav,two\n")
    train(load_manifest(path, ()), folder / "run", resume=False, device="cpu", progress_bar=False)
    return folder / "run"


def told(*words: object, pipe: bytes | None = None) -> list[dict[str, Any]]:
    result = CliRunner().invoke(
        transcribe, [*map(str, words), "--json", "--max-tokens", "4"], input=pipe, catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


def test_a_file_and_a_pipe_are_heard_alike(hearing_run: Path, tmp_path: Path) -> None:
    samples = sound(7.3)
    soundfile.write(tmp_path / "sound.wav", samples, RATE, subtype="PCM_16")
    from_file = told(hearing_run, tmp_path / "sound.wav", "--window", 3)
    from_pipe = told(hearing_run, "--window", 3, "--rate", RATE, pipe=samples.tobytes())
    assert from_file == from_pipe
    assert len(from_file) >= 3
    assert all(one["final"] for one in from_file)
    assert from_file[-1]["end"] == 7.3
    first = from_file[0]
    length = round(first["end"] * RATE)
    heard = Waveform(np.pad((samples / np.float32(2**15))[:length], (0, -length % RATE)), RATE)
    assert first["text"] == load(hearing_run, device="cpu").generate([Media("audio", heard)], max_tokens=4)

    streamed = told(hearing_run, "--stream", "--window", 5, "--rate", RATE, pipe=samples.tobytes())
    assert [one for one in streamed if one["final"]] == told(
        hearing_run, "--window", 5, "--rate", RATE, pipe=samples.tobytes()
    )
    assert any(not one["final"] for one in streamed)


def test_a_transcript_head_writes_what_it_hears_unless_another_is_named(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(lm={"type": "lm"}, ctc={"type": "ctc", "modality": "audio"})
    samples = sound(2.0)
    soundfile.write(tmp_path / "sound.wav", samples, RATE, subtype="PCM_16")
    session = load(run, device="cpu")
    [turn] = [[Turn("user", (Media("audio", Waveform(samples / np.float32(2**15), RATE)),))]]
    heard = {head: session.answer([turn], 4, head=head)[0] for head in ("ctc", "lm")}
    assert heard["ctc"] != heard["lm"]
    for options, head in (([], "ctc"), (["--head", "ctc"], "ctc"), (["--head", "lm"], "lm")):
        [found] = told(run, tmp_path / "sound.wav", *options)
        assert found["text"] == heard[head]
    for unheard in ([run, tmp_path / "sound.wav"], [run]):
        with pytest.raises(ModRWKVError, match=r"no head 'other' that can transcribe audio.*\n.*name one of: ctc, lm"):
            told(*unheard, "--head", "other", pipe=b"")


def resident_bytes(process: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


def memory_of(run: Path, seconds: int, window: int) -> list[int]:
    """Pipe generated sound through the program; return its resident memory after each window, in bytes."""
    command = [sys.executable, "-m", "modrwkv_core", "transcribe", str(run), "--json", "--max-tokens", "4"]
    options = ["--rate", str(RATE), "--window", str(window), "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    with subprocess.Popen(
        [*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        pipe, lines = program.stdin, program.stdout

        def speak() -> None:
            with pipe:
                for second in range(seconds):
                    pipe.write(sound(1.0, second).tobytes())

        speaker = threading.Thread(target=speak)
        speaker.start()
        memory = []
        end = 0.0
        for line in lines:
            end = json.loads(line)["end"]
            if program.poll() is None:
                memory.append(resident_bytes(program.pid))
        speaker.join()
    assert program.returncode == 0
    assert end == seconds
    return memory


def assert_flat(memory: list[int]) -> None:
    warm = len(memory) // 4
    assert max(memory[warm:]) - max(memory[:warm]) < 16 * MIB, [size // MIB for size in memory]


def test_memory_does_not_grow_with_the_recording(hearing_run: Path) -> None:
    memory = memory_of(hearing_run, seconds=40, window=1)
    assert len(memory) > 30
    assert_flat(memory)


@pytest.mark.slow
def test_an_hour_is_heard_in_flat_memory(hearing_run: Path) -> None:
    memory = memory_of(hearing_run, seconds=3600, window=30)
    assert len(memory) > 110
    assert_flat(memory)
