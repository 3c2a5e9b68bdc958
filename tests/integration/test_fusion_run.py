"""Several encoders on one picture in a whole run: loader workers, frozen towers, a saved run."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from modrwkv_core.inference.loading import load
from modrwkv_core.interfaces.record import Media
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.manifest.unions import Components
from modrwkv_core.manifest.wiring import check_wiring
from modrwkv_core.model.assemble import assemble
from modrwkv_core.model.build import build_encoder, build_modality, build_processor
from modrwkv_core.model.run import RunFolder
from modrwkv_core.registry import discover
from modrwkv_core.storage.tensors import read_tensors
from modrwkv_core.training.loop import train

SIZES = {"init": "scratch", "num_layers": 1, "num_heads": 2, "intermediate_size": 16}
TOWERS = {
    "a": {"type": "siglip2", **SIZES, "image_size": 24, "patch_size": 8, "hidden_size": 12},
    "b": {"type": "clip", **SIZES, "image_size": 16, "patch_size": 8, "hidden_size": 8},
}
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("workers", [0, 1])
def test_fused_towers_train_in_part_and_answer(
    tiny_manifest: Callable[..., Path], tmp_path: Path, workers: int
) -> None:
    path = tiny_manifest(
        modalities={"image": {"encoder": {"type": "fusion", "towers": TOWERS}, "adapter": {"type": "mlp"}}},
        heads={"lm": {"type": "lm"}},
        data={"train": [{"source": "chat", "path": "pictures.jsonl"}], "batch_size": 2, "workers": workers},
        phases=[
            {
                "name": "align",
                "train": ["encoder", "adapter", "backbone"],
                "freeze": ["image.encoder.towers.b.*"],
                "lr": 1e-2,
                "steps": 4,
            }
        ],
    )
    random = np.random.default_rng(0)
    lines = []
    for name in ("one.png", "two.png", "three.png"):
        PIL.Image.fromarray(random.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path.parent / name)
        content = [{"type": "image", "path": name}, {"type": "text", "text": "What?"}]
        lines.append({"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": name}]})
    (path.parent / "pictures.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    loaded = load_manifest(path)
    check_wiring(loaded)
    torch.manual_seed(loaded.manifest.seed)
    before = assemble(loaded, pretrained=False).parts()["image.encoder"].state_dict()
    train(loaded, tmp_path / "run", device="cpu", progress_bar=False, resume=False)
    [file] = RunFolder(tmp_path / "run").latest().glob("image.encoder*.safetensors")
    after = read_tensors(file)
    changed = {name.split(".")[1] for name, value in after.items() if not torch.equal(before[name], value)}
    assert changed == {"a"}
    session = load(tmp_path / "run", device="cpu")
    assert session.generate([Media("image", path.parent / "one.png"), "What?"], max_tokens=2) is not None


def test_the_example_joins_three_towers() -> None:
    loaded = load_manifest(EXAMPLES / "visualrwkv7.yaml")
    encoder = loaded.manifest.modalities["image"].encoder
    assert (encoder.out_dim, encoder.typical_length) == (768 + 768 + 256, 576)
    [shapes] = check_wiring(loaded)
    assert shapes.links[-1].lengths == (144,), "squares of four are one token"


def test_a_film_is_read_by_fused_towers() -> None:
    registry = discover()
    settings = {"type": "video_frames", "encoder": {"type": "fusion", "towers": TOWERS}}
    context = {"components": Components(registry)}
    config = registry.config_class("encoder", "video_frames").model_validate(settings, context=context)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 30, 40, 3), dtype=np.uint8)
    item = build_processor(registry, config)(build_modality(registry, "video").decode(pixels))
    assert build_encoder(registry, config)([item]).values.shape == (1, 3 * 9, 20)
