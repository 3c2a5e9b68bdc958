"""``modrwkv bench processors``: how fast one core decodes and preprocesses media for each installed encoder.

Images are resized to 384 pixels, or to as many patches of 16 pixels.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from importlib import resources
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch
from pydantic import ValidationError

from modrwkv_core.benchmarking.fingerprint import fingerprint
from modrwkv_core.benchmarking.interleave import interleave
from modrwkv_core.benchmarking.report import Row, TimeReport
from modrwkv_core.registry import Registry, discover

__all__ = ["bench_processors"]

SIZES = {"image_size": 384, "max_patches": 576}
CLIP_SECONDS = 10
BUDGETS = {"image": 150, "audio": 200}  # images, or seconds of sound, that one core should prepare in a second


class Medium(NamedTuple):
    """Files of one kind. ``amount`` is what one of them counts for: an image, or its seconds."""

    name: str
    modality: str
    files: list[bytes]
    amount: float


def bench_processors(*, seconds: float) -> TimeReport:
    """Measure all installed encoders of images and of sound on one thread, by processor time.

    An encoder's row is decoding and preprocessing together, as a loader worker does it.
    """
    torch.set_num_threads(1)
    registry = discover()
    settings = {"clock": "processor time", "unit": "an image, or a second of sound"}
    report = TimeReport("processors", settings, fingerprint("cpu"), "unit", bound="budget")
    media = [_photographs(), _recording(16_000), _recording(44_100)]
    for medium in media:
        modality = registry.modality_class(medium.modality)()
        cases: dict[str, Callable[[], object]] = {"decoding alone": _prepare(medium, modality, lambda signal: signal)}
        for entry in registry.components("encoder"):
            if entry.spec.modality != medium.modality:
                continue
            try:
                cases[entry.spec.name] = _prepare(medium, modality, _processor(registry, entry.spec.name))
            except ValidationError as error:  # such as one that is made of other encoders
                reason = error.errors()[0]
                report.missing[entry.spec.name] = f"it needs settings: {reason['msg']}"
        timings = interleave(cases, seconds=seconds / len(media), clock=time.process_time)
        budget = medium.amount / BUDGETS[medium.modality]
        report.rows += [Row(medium.name, name, timing, medium.amount, budget) for name, timing in timings.items()]
    return report


def _photographs() -> Medium:
    """The two photographs that come with scikit-learn."""
    folder = resources.files("sklearn.datasets.images")
    files = [(folder / f"{name}.jpg").read_bytes() for name in ("china", "flower")]
    return Medium("JPEG, 640 x 427", "image", files, 1)


def _recording(rate: int) -> Medium:
    """A wavering tone in noise."""
    seconds = np.arange(CLIP_SECONDS * rate) / rate
    tone = 0.3 * np.sin(2 * np.pi * 220 * (seconds + 0.1 * np.sin(seconds)))
    samples = tone + 0.02 * np.random.default_rng(0).standard_normal(len(seconds))
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC")
    return Medium(f"FLAC, {rate / 1000:g} kHz", "audio", [file.getvalue()], CLIP_SECONDS)


def _processor(registry: Registry, name: str) -> Callable[[Any], object]:
    """The processor of an encoder without pretrained weights, of the sizes :data:`SIZES`."""
    config = registry.config_class("encoder", name)
    settings = {key: value for key, value in {"init": "scratch", **SIZES}.items() if key in config.model_fields}
    processor: Callable[[Any], object] = registry.processor(name)(config(**settings))
    return processor


def _prepare(medium: Medium, modality: Any, process: Callable[[Any], object]) -> Callable[[], object]:
    files = cycle(medium.files)
    return lambda: process(modality.decode(next(files)))
