"""Synthetic images and sounds with conversations about them, and the manifest of a model that learns from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import PIL.Image
import soundfile

from modrwkv_core.benchmarking.sizes import ModelSize
from modrwkv_core.manifest.load import LoadedManifest, load_manifest

__all__ = ["MultimodalSize", "write_run"]

RECORDS: Final = 4096  # an epoch is many batches for each worker
FILES: Final = 64
IMAGE_SIZE: Final = (480, 640)  # height and width, as LLaVA's photographs
RATE: Final = 16_000
SECONDS: Final = 4
WORDS: Final = ("red", "green", "blue", "near", "far", "large", "small", "bright", "quiet", "loud")
ANSWER_WORDS: Final = 60


@dataclass(frozen=True, slots=True)
class MultimodalSize:
    """Sizes of a model and its batches.

    Attributes:
        backbone: The backbone; the vocabulary is the tokenizer's.
        encoder: Layers and hidden size of the encoder.
        image_size: Height and width of the images that the encoder reads.
        batch_size: Conversations of a step.
    """

    backbone: ModelSize
    encoder: ModelSize
    image_size: int
    batch_size: int


def write_run(
    folder: Path,
    size: MultimodalSize,
    *,
    modality: Literal["image", "audio"],
    train: Literal["align", "finetune"],
    precision: str,
    workers: int,
) -> LoadedManifest:
    """Write media, conversations and a manifest to ``folder``.

    A conversation is a JPEG of 640 x 480 pixels, or four seconds of sound, and two answers of 60 words.

    Args:
        folder: Exists and is empty.
        size: Of the model.
        modality: What the model sees or hears.
        train: ``align`` trains compressor and adapter, ``finetune`` the backbone, too.
        precision: Of the phase.
        workers: Of the loader.
    """
    noise = np.random.default_rng(0)
    write = _write_picture if modality == "image" else _write_sound
    names = [write(folder, index, noise) for index in range(FILES)]
    records = []
    for index in range(RECORDS):
        answers = [" ".join(noise.choice(WORDS, ANSWER_WORDS)) for _ in range(2)]
        said = [f"<{modality}>\nWhat is it like?", answers[0], "And the rest?", answers[1]]
        turns = [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(said)]
        records.append({modality: names[index % FILES], "conversations": turns})
    (folder / "talks.json").write_text(json.dumps(records), encoding="utf-8")
    parts = ["compressor", "adapter"] + (["backbone"] if train == "finetune" else [])
    tokenizer = "world" if size.backbone.vocab_size > 2**15 else "bytes"
    manifest: dict[str, Any] = {
        "modrwkv": 1,
        "name": "bench",
        "tokenizer": {"type": tokenizer},
        "backbone": {
            "type": "rwkv7",
            "num_layers": size.backbone.num_layers,
            "hidden_size": size.backbone.hidden_size,
        },
        "modalities": {
            modality: {
                "encoder": _encoder(modality, size),
                "compressor": {"type": "conv1d", "kernel": 3, "stride": 2},
                "adapter": {"type": "mlp", "expansion": 4},
            }
        },
        "data": {
            "train": [{"source": "llava", "path": str(folder.resolve() / "talks.json")}],
            "batch_size": size.batch_size,
            "workers": workers,
        },
        # As many steps as no benchmark takes, so that the learning rate hardly changes.
        "phases": [{"name": train, "train": parts, "lr": 1e-5, "steps": 10**6, "precision": precision}],
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return load_manifest(path)


def _encoder(modality: str, size: MultimodalSize) -> dict[str, Any]:
    hidden = size.encoder.hidden_size
    sizes = {
        "init": "scratch",
        "hidden_size": hidden,
        "num_layers": size.encoder.num_layers,
        "num_heads": hidden // 64,
        "intermediate_size": 4 * hidden,
    }
    if modality == "image":
        return {"type": "siglip2", "image_size": size.image_size, "patch_size": 16, **sizes}
    return {"type": "wavlm", **sizes}


def _write_picture(folder: Path, index: int, noise: np.random.Generator) -> str:
    """A smooth scene in grain: JPEGs of it are as large as those of photographs."""
    height, width = IMAGE_SIZE
    coarse = PIL.Image.fromarray(noise.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    scene = np.asarray(coarse.resize((width, height), PIL.Image.Resampling.BICUBIC), dtype=np.float32)
    grained = scene + 8 * noise.standard_normal(scene.shape, dtype=np.float32)
    name = f"{index}.jpg"
    PIL.Image.fromarray(grained.clip(0, 255).astype(np.uint8)).save(folder / name, quality=90)
    return name


def _write_sound(folder: Path, index: int, noise: np.random.Generator) -> str:
    """A wavering tone in noise."""
    seconds = np.arange(SECONDS * RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * (200 + 5 * index) * (seconds + 0.1 * np.sin(seconds)))
    name = f"{index}.flac"
    soundfile.write(folder / name, tone + 0.02 * noise.standard_normal(len(seconds)), RATE)
    return name
