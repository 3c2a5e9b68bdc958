"""The presets of the core."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from modrwkv_core.backbones.rwkv7.config import RWKV7Config
from modrwkv_core.backbones.rwkv7.model import RWKV7
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.registry import discover

MINE = """
modrwkv: 1
name: mine
extends: [rwkv7-0b1, two-phase]
data: {train: [{source: chat, path: captions.jsonl}]}
phases: {finetune: {data: [{source: chat, path: answers.jsonl}], epochs: 2}}
modalities:
  image: {encoder: {type: siglip2, init: scratch}, compressor: {type: conv1d}, adapter: {type: mlp}}
"""


@pytest.mark.parametrize(
    ("name", "parameters"),
    # The totals of the checkpoints that the RWKV authors published.
    [("0b1", 191_034_624), ("0b4", 450_767_872), ("1b5", 1_527_404_544), ("2b9", 2_947_735_040)],
)
def test_backbones_have_the_sizes_of_the_released_ones(name: str, parameters: int) -> None:
    preset = yaml.safe_load(discover().preset_text(f"rwkv7-{name}"))
    config = RWKV7Config(**preset["backbone"])
    with torch.device("meta"):
        model = RWKV7(config, 65536)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_presets_make_a_manifest_together(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text(MINE)
    manifest = load_manifest(tmp_path / "manifest.yaml").manifest
    pretrain, finetune = manifest.phases
    assert (pretrain.train, pretrain.lr, pretrain.batch_size, pretrain.data) == (
        ("compressor", "adapter"),
        1e-3,
        256,
        None,
    )
    assert (finetune.train, finetune.lr, finetune.epochs) == (("compressor", "adapter", "backbone"), 2e-5, 2)
    assert finetune.data is not None
    assert finetune.data[0].path.name == "answers.jsonl"  # type: ignore[attr-defined]
    assert manifest.data.max_tokens == 2048
