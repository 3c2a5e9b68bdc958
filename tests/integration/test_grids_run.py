"""Pictures of any size keep their rows and columns from the encoder to the stream, in whole runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from modrwkv_core.cli.main import run_program
from modrwkv_core.errors import WiringError
from modrwkv_core.inference.loading import load
from modrwkv_core.interfaces.record import Media
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.manifest.wiring import check_wiring
from modrwkv_core.training.loop import train

SIZES = {"init": "scratch", "num_layers": 1, "num_heads": 2, "hidden_size": 12, "intermediate_size": 16}
SIGLIP2 = {"type": "siglip2", **SIZES, "image_size": 24, "patch_size": 8}
NAFLEX = {"type": "siglip2_naflex", **SIZES, "max_patches": 20, "patch_size": 4, "positions": 16}
TILES = {"type": "tiles", "encoder": SIGLIP2, "max_tiles": 3}
WAVENET = {"type": "wavenet", "channels": 1, "hidden_size": 8}
PICTURES = {"broad.png": (12, 40), "tall.png": (50, 9), "square.png": (20, 20)}


@pytest.fixture
def pictures(tiny_manifest: Callable[..., Path]) -> Callable[..., Path]:
    """A manifest of a model that reads pictures of three shapes by the given encoder and compressor."""

    def make(encoder: dict[str, Any], compressor: dict[str, Any]) -> Path:
        modality = {"encoder": encoder, "compressor": compressor, "adapter": {"type": "mlp"}}
        phases = [{"name": "align", "train": ["compressor", "adapter", "backbone"], "lr": 1e-2, "steps": 4}]
        path = tiny_manifest(
            modalities={"image": modality},
            heads={"lm": {"type": "lm"}},
            data={
                "train": [{"source": "chat", "path": "pictures.jsonl"}],
                "batch_size": 3,
                "feature_cache": {"path": "cache", "max_bytes": 2_000_000},
            },
            phases=phases,
        )
        random = np.random.default_rng(0)
        lines = []
        for name, (height, width) in PICTURES.items():
            pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(path.parent / name)
            content = [{"type": "image", "path": name}, {"type": "text", "text": "What?"}]
            lines.append({"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": name}]})
        (path.parent / "pictures.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return make


@pytest.mark.parametrize("compressor", ["conv2d", "pool2d", "pixel_shuffle"])
@pytest.mark.parametrize("encoder", [NAFLEX, TILES], ids=["naflex", "tiles"])
def test_pictures_of_any_size_meet_compressors_of_grids(
    pictures: Callable[..., Path], tmp_path: Path, encoder: dict[str, Any], compressor: str
) -> None:
    """Its second epoch takes features from the cache, which must keep their grids."""
    path = pictures(encoder, {"type": compressor})
    assert run_program(["check", str(path)]) == 0
    loaded = load_manifest(path)
    train(loaded, tmp_path / "run", device="cpu", progress_bar=False, resume=False)
    session = load(tmp_path / "run", device="cpu")
    for name in PICTURES:
        assert session.generate([Media("image", path.parent / name), "What?"], max_tokens=2) is not None


@pytest.mark.parametrize("compressor", ["conv2d", "pool2d", "pixel_shuffle"])
def test_each_window_of_a_film_is_a_grid(tiny_manifest: Callable[..., Path], compressor: str) -> None:
    video = {"encoder": {"type": "video_frames", "encoder": SIGLIP2, "frames": 4}, "adapter": {"type": "mlp"}}
    path = tiny_manifest(
        modalities={"video": {**video, "compressor": {"type": compressor}}},
        heads={"lm": {"type": "lm"}},
        phases=[{"name": "align", "train": ["adapter"], "lr": 1e-2, "steps": 1}],
    )
    [shapes] = check_wiring(load_manifest(path))
    assert [link.lengths for link in shapes.links] == [(9,), (4,), (4,)]


@pytest.mark.parametrize(
    ("compressor", "meant"),
    [("conv2d", "did you mean 'conv1d'"), ("pool2d", "did you mean 'pool'"), ("pixel_shuffle", "")],
)
def test_an_encoder_without_a_grid_is_refused(tiny_manifest: Callable[..., Path], compressor: str, meant: str) -> None:
    path = tiny_manifest(
        modalities={"series": {"encoder": WAVENET, "compressor": {"type": compressor}, "adapter": {"type": "mlp"}}},
    )
    with pytest.raises(WiringError) as raised:
        check_wiring(load_manifest(path))
    assert f"compressor '{compressor}' (modrwkv-" in str(raised.value)
    assert "works on rows and columns, but the features of encoder 'wavenet' (modrwkv-wavenet) have no grid" in str(
        raised.value
    )
    assert raised.value.hint is not None
    assert meant in raised.value.hint
    assert "compressors that need no grid: conv1d, none, pool;" in raised.value.hint
