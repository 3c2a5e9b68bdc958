"""Speed of the processors: how much one core of a loader decodes and prepares for each installed encoder.

Run as ``python benchmarks/processors.py [--repeats N]``. Photographs are prepared at 384 pixels, or as many patches of
16 pixels. One thread works and its processor time counts, so that other load on the machine adds little; of each medium
the median. Prints a table and a JSON object.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from fingerprint import fingerprint

from modrwkv_core.registry import Registry, discover

SIZES = {"image_size": 384, "max_patches": 576}
SECONDS = 10
REQUIRED = {"image": 150, "audio": 200}


class Medium(NamedTuple):
    """Files of one kind; ``amount`` is what one of them counts for: a picture, or its seconds."""

    name: str
    unit: str
    files: list[bytes]
    amount: float


def photographs() -> Medium:
    """Return the two photographs that come with scikit-learn."""
    folder = resources.files("sklearn.datasets.images")
    files = [(folder / f"{name}.jpg").read_bytes() for name in ("china", "flower")]
    return Medium("JPEG, 640 x 427", "pictures", files, 1)


def recording(rate: int) -> Medium:
    """Return a wavering tone in noise."""
    seconds = np.arange(SECONDS * rate) / rate
    tone = 0.3 * np.sin(2 * np.pi * 220 * (seconds + 0.1 * np.sin(seconds)))
    samples = tone + 0.02 * np.random.default_rng(0).standard_normal(len(seconds))
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC")
    return Medium(f"FLAC, {rate / 1000:g} kHz", "seconds", [file.getvalue()], SECONDS)


def processor(registry: Registry, name: str) -> Any:
    """Construct the processor of the encoder ``name`` as it is from scratch, but for :data:`SIZES`."""
    config = registry.config_class("encoder", name)
    settings = {key: value for key, value in {"init": "scratch", **SIZES}.items() if key in config.model_fields}
    return registry.processor(name)(config(**settings))


def median_seconds(modality: Any, process: Any, files: list[bytes], repeats: int) -> tuple[float, float]:
    """Return the processor time of decoding one file and of processing it, after a warm-up."""
    for file in files:
        process(modality.decode(file))
    times = []
    for file in files * repeats:
        begun = time.process_time()
        signal = modality.decode(file)
        decoded = time.process_time()
        process(signal)
        times.append((decoded - begun, time.process_time() - decoded))
    decoding, processing = zip(*times, strict=True)
    return statistics.median(decoding), statistics.median(processing)


def main() -> None:
    """Measure every installed encoder of pictures and of sound and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=50, help="measured runs on each file (default: 50)")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    machine = fingerprint()
    registry = discover()
    media = {"image": [photographs()], "audio": [recording(16_000), recording(44_100)]}
    print(f"{'encoder':<16}{'medium':<18}{'decode':>10}{'process':>10}{'per second and core':>30}")
    results = []
    for entry in registry.components("encoder"):
        name, modality_name = entry.spec.name, str(entry.spec.modality)
        for medium in media.get(modality_name, []):
            modality = registry.modality_class(modality_name)()
            decoding, processing = median_seconds(modality, processor(registry, name), medium.files, repeats)
            speed = medium.amount / (decoding + processing)
            print(
                f"{name:<16}{medium.name:<18}{decoding * 1000:>7.2f} ms{processing * 1000:>7.2f} ms"
                f"{speed:>12.0f} {medium.unit} (of {REQUIRED[modality_name]})"
            )
            results.append(
                {
                    "encoder": name,
                    "modality": modality_name,
                    "medium": medium.name,
                    "decode_seconds": round(decoding, 6),
                    "process_seconds": round(processing, 6),
                    f"{medium.unit}_per_second": round(speed, 1),
                }
            )
    report = {"benchmark": "processors", "repeats": repeats, "required_per_second": REQUIRED, "results": results}
    print(json.dumps(report | {"machine": machine}, indent=2))


if __name__ == "__main__":
    main()
