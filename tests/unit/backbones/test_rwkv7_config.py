"""The configuration: sizes from weights, from scratch, and from a run's record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config
from modrwkv_core.errors import CheckpointError, ComponentError

ODD = {
    "decay_low_rank_dim": 3,
    "a_low_rank_dim": 5,
    "v_low_rank_dim": 7,
    "gate_low_rank_dim": 9,
    "intermediate_size": 40,
    "head_dim": 8,
}


@pytest.fixture(params=[".pth", ".safetensors"])
def weights(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with sizes that no formula gives."""
    tensors = RWKV7(RWKV7Config(num_layers=3, hidden_size=16, **ODD), 50).bfloat16().state_dict()
    path = tmp_path / f"odd{request.param}"
    if request.param == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    return path


@pytest.mark.parametrize(
    ("hidden_size", "decay", "rate", "value", "gate"),
    [(128, 32, 32, 32, 64), (768, 64, 64, 32, 128), (1024, 64, 64, 64, 160), (2048, 128, 128, 64, 224)],
)
def test_ranks_follow_the_official_formula(hidden_size: int, decay: int, rate: int, value: int, gate: int) -> None:
    sizes = RWKV7Config(num_layers=2, hidden_size=hidden_size).sizes()
    assert (sizes.decay_low_rank_dim, sizes.a_low_rank_dim, sizes.v_low_rank_dim, sizes.gate_low_rank_dim) == (
        decay,
        rate,
        value,
        gate,
    )
    assert (sizes.intermediate_size, sizes.head_dim, sizes.num_heads, sizes.vocab) == (
        4 * hidden_size,
        64,
        hidden_size // 64,
        None,
    )


def test_every_size_can_be_set_from_scratch() -> None:
    resolved = RWKV7Config(num_layers=2, hidden_size=16, vocab=99, **ODD).resolved()
    assert resolved.model_dump(exclude={"type", "weights", "kernel", "activation_checkpointing"}) == {
        "num_layers": 2,
        "hidden_size": 16,
        "vocab": 99,
        **ODD,
    }
    assert resolved.fixed_vocab_size == 99


def test_every_size_is_read_from_the_tensors(weights: Path) -> None:
    config = RWKV7Config(weights=weights)
    assert (config.in_dim, config.fixed_vocab_size) == (16, 50)
    resolved = config.resolved()
    assert resolved.model_dump(exclude={"type", "weights", "kernel", "activation_checkpointing"}) == {
        "num_layers": 3,
        "hidden_size": 16,
        "vocab": 50,
        **ODD,
    }


def test_a_resolved_configuration_rebuilds_without_the_weights(weights: Path) -> None:
    record = RWKV7Config(weights=weights).resolved().model_dump_json()
    names = {name: tensor.shape for name, tensor in RWKV7.from_checkpoint(weights).state_dict().items()}
    weights.unlink()
    config = RWKV7Config.model_validate_json(record)
    assert (config.in_dim, config.fixed_vocab_size) == (16, 50)
    rebuilt = RWKV7(config.resolved(), 50)
    assert {name: tensor.shape for name, tensor in rebuilt.state_dict().items()} == names


def test_the_models_own_configuration_is_resolved(weights: Path) -> None:
    assert RWKV7(RWKV7Config(weights=weights), 50).config == RWKV7Config(weights=weights).resolved()


def test_unresolved_without_weights_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*nowhere\.pth"):
        _ = RWKV7Config(weights=tmp_path / "nowhere.pth", hidden_size=64).in_dim


def test_contradictions_name_both_sides(weights: Path) -> None:
    config = RWKV7Config(weights=weights, hidden_size=24, head_dim=8, num_layers=3, intermediate_size=41)
    with pytest.raises(ComponentError) as raised:
        config.resolved()
    text = str(raised.value)
    assert "hidden_size is 24 in the configuration but 16 in the weights" in text
    assert "intermediate_size is 41 in the configuration but 40 in the weights" in text
    assert "layers" not in text
    assert str(weights) in text


def test_another_vocabulary_than_the_weights_is_refused(weights: Path) -> None:
    with pytest.raises(ComponentError, match="50 rows, but 51"):
        RWKV7(RWKV7Config(weights=weights), 51)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give `weights`, or `num_layers` and `hidden_size`"),
        ({"num_layers": 2}, "give `weights`, or `num_layers` and `hidden_size`"),
        ({"num_layers": 2, "hidden_size": 100}, "hidden_size 100 is not a multiple of head_dim 64"),
        ({"num_layers": 2, "hidden_size": 100, "head_dim": 16}, "hidden_size 100 is not a multiple of head_dim 16"),
        ({"num_layers": 0, "hidden_size": 64}, "greater than or equal to 1"),
        ({"num_layers": 2, "hidden_size": 64, "dropout": 0.1}, "Extra inputs are not permitted"),
    ],
)
def test_impossible_configurations_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RWKV7Config(**given)


def test_an_unavailable_kernel_is_refused_with_the_reason() -> None:
    with pytest.raises(
        ComponentError, match=r"kernel 'warp'.*there is no backend.*(?s:.)*hint: use 'auto' or one of .*torch"
    ):
        RWKV7(RWKV7Config(num_layers=1, hidden_size=64, kernel="warp"), 32)


def test_a_relative_path_is_meant_from_the_manifest(tmp_path: Path) -> None:
    config = RWKV7Config.model_validate({"weights": "w/model.pth"}, context={"folder": tmp_path})
    assert config.weights == tmp_path / "w" / "model.pth"


def test_safetensors_are_checked_without_torch(tmp_path: Path, make_model: Any) -> None:
    save_file(make_model(dtype=torch.bfloat16).state_dict(), tmp_path / "m.safetensors")
    program = (
        "import sys; from pathlib import Path; from modrwkv_core.backbones.rwkv7 import RWKV7Config;"
        "print(RWKV7Config(weights=Path(sys.argv[1])).resolved().in_dim, 'torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "m.safetensors")], capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["16", "False"]
