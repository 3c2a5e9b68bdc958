"""The base of encoders with pretrained weights, used as a third party would."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.pretrained_config import ConfigFile, PretrainedEncoderConfig, from_checkpoint
from modrwkv_core.interfaces.pretrained_encoder import PretrainedEncoder
from modrwkv_core.interfaces.values import Features, MediaItem


class MineConfig(PretrainedEncoderConfig):
    type: Literal["mine"] = "mine"
    hidden_size: int = from_checkpoint(gt=0, multiple_of=2)
    kernels: tuple[int, ...] = from_checkpoint(min_length=1)
    rate: Literal["low", "high"] = from_checkpoint()
    layers: int = 1

    default_checkpoint: ClassVar = "someone/base"
    known_checkpoints: ClassVar = {"someone/base": {"hidden_size": 4, "kernels": (3, 2), "rate": "low"}}
    config_files: ClassVar = (
        ConfigFile(
            ("config.json",),
            {"hidden_size": "d_model", "kernels": "kernels"},
            defaults={"kernels": (5,)},
            constants={"act": "gelu"},
            sections=("vision",),
            model_types=("mine",),
        ),
        ConfigFile(("processor.json",), {"rate": "hz"}, translations={"rate": {8: "low", 16: "high"}}),
    )
    other_types: ClassVar = {"yours": "your_encoder", "someone/other": "other_encoder"}

    @property
    def out_dim(self) -> int:
        return self.hidden_size

    def out_length(self, length: int) -> int:
        return length


class MineEncoder(PretrainedEncoder[MineConfig]):
    prefixes = ("model.vision.", "vision.")
    unused = ("text.*", "head.*")
    renamed: ClassVar = {"gamma": "weight"}

    def __init__(self, config: MineConfig) -> None:
        super().__init__(config)
        self.model = nn.LayerNorm(config.hidden_size)

    def forward(self, items: Sequence[MediaItem]) -> Features:
        raise NotImplementedError


def checkpoint(folder: Path, config: Any, processor: Any = None) -> str:
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "processor.json").write_text(json.dumps({"hz": 16} if processor is None else processor))
    return str(folder)


def test_values_come_from_the_manifest_then_the_checkpoint_then_its_defaults(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, {"model_type": "mine", "vision": {"d_model": 8}})
    config = MineConfig(checkpoint=folder)
    assert (config.hidden_size, config.kernels, config.rate, config.layers) == (8, (5,), "high", 1)
    given = MineConfig(checkpoint=folder, hidden_size=6, kernels=(1,))
    assert (given.hidden_size, given.kernels, given.rate) == (6, (1,), "high")
    (tmp_path / "processor.json").unlink()
    assert MineConfig(checkpoint=folder, rate="low").rate == "low", "a file whose fields are all given is not read"


@pytest.mark.parametrize("values", [{"init": "scratch"}, {"checkpoint": "someone/base"}])
def test_known_sizes_need_no_file_and_a_run_no_checkpoint(values: dict[str, Any]) -> None:
    config = MineConfig(**values)
    assert (config.hidden_size, config.kernels, config.rate) == (4, (3, 2), "low")
    assert MineConfig.model_validate(config.model_dump(mode="json")) == config == config.resolved()


@pytest.mark.parametrize(
    ("config", "processor", "message"),
    [
        ({"model_type": "yours"}, None, r"model_type 'yours', not 'mine'\s.*use type: your_encoder"),
        ({"model_type": "theirs"}, None, r"model_type 'theirs', not 'mine'\s.*such as someone/base"),
        ({}, None, "model_type None, not 'mine'"),
        ({"model_type": "mine", "d_model": "8"}, None, "d_model = '8': Input should be a valid integer"),
        ({"model_type": "mine", "d_model": 7}, None, "d_model = 7: Input should be a multiple of 2"),
        ({"model_type": "mine", "d_model": True}, None, "d_model = True: Input should be a valid integer"),
        ({"model_type": "mine"}, None, "d_model = None"),
        ({"model_type": "mine", "d_model": 8, "kernels": 3}, None, "kernels = 3: Input should be a valid"),
        (
            {"model_type": "mine", "d_model": 8, "act": "relu"},
            None,
            "act = 'relu', but this component computes 'gelu' only",
        ),
        ({"model_type": "mine", "vision": [1]}, None, r"\[1\] where its configuration belongs"),
        ({"model_type": "mine", "d_model": 8}, {"hz": 9}, "hz = 9, not one of 8, 16"),
        ({"model_type": "mine", "d_model": 8}, {"hz": [8]}, r"hz = \[8\], not one of 8, 16"),
    ],
)
def test_a_checkpoint_that_this_encoder_cannot_compute_is_refused(
    tmp_path: Path, config: Any, processor: Any, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        MineConfig(checkpoint=checkpoint(tmp_path, config, processor))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either a checkpoint or init: scratch"),
        ({"checkpoint": "someone/base", "init": "scratch"}, "either a checkpoint or init: scratch"),
        ({"checkpoint": "someone/other"}, r"not one of this component\s.*use type: other_encoder"),
        ({"init": "scratch", "hidden_size": 0}, "greater than 0"),
    ],
)
def test_manifests_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MineConfig(**values)


@pytest.mark.parametrize("prefix", ["", "vision.", "model.vision.", "module.model.vision."])
def test_the_networks_tensors_are_found_among_those_of_others(tmp_path: Path, prefix: str) -> None:
    own = {f"{prefix}gamma": torch.full((4,), 2.0), f"{prefix}bias": torch.full((4,), 3.0)}
    others = {f"{prefix}head.weight": torch.zeros(1)}
    if prefix:
        others["module.text.weight" if "module" in prefix else "text.weight"] = torch.zeros(1)
    torch.save(own | others, tmp_path / "w.bin")
    values = {"hidden_size": 4, "kernels": (1,), "rate": "low"}
    encoder = MineEncoder(MineConfig(checkpoint=str(tmp_path / "w.bin"), **values))
    encoder.load_pretrained()
    assert encoder.model.weight.tolist() == [2.0] * 4
    assert encoder.model.bias.tolist() == [3.0] * 4
    assert encoder.pretrained_files() == (tmp_path / "w.bin",)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"vision.weight": torch.zeros(4)}, "1 missing: bias"),
        ({"vision.weight": torch.zeros(4), "vision.bias": torch.zeros(3)}, r"bias \[3\] instead of \[4\]"),
        ({"vision.weight": torch.zeros(4), "weight": torch.zeros(4)}, "1 tensors twice .* such as weight"),
        ({"vision.weight": torch.zeros(4), "vision.bias": torch.zeros(4), "x": torch.zeros(1)}, "1 unexpected: x"),
        ({"weight": torch.zeros(4), "bias": torch.zeros(4), "extra": torch.zeros(1)}, "1 unexpected: extra"),
    ],
)
def test_a_partial_fit_loads_nothing(tmp_path: Path, tensors: dict[str, torch.Tensor], message: str) -> None:
    torch.save(tensors, tmp_path / "w.bin")
    config = MineConfig(checkpoint=str(tmp_path / "w.bin"), hidden_size=4, kernels=(1,), rate="low")
    encoder = MineEncoder(config)
    with pytest.raises(CheckpointError, match=message):
        encoder.load_pretrained()
    assert encoder.model.weight.tolist() == [1.0] * 4


def test_without_a_checkpoint_nothing_is_read() -> None:
    encoder = MineEncoder(MineConfig(init="scratch"))
    encoder.load_pretrained()
    assert encoder.pretrained_files() == ()
