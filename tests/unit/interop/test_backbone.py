"""Official files, folders and runs as sources and targets of a conversion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import Tensor

from modrwkv_core.backbones.rwkv7.fla import to_fla
from modrwkv_core.cli.convert import convert
from modrwkv_core.errors import CheckpointError
from modrwkv_core.interop.backbone import read_backbone

MakeBackbone = Callable[..., dict[str, Tensor]]


@pytest.fixture
def official(make_backbone: MakeBackbone, tmp_path: Path) -> Path:
    """An official file as they are published: one dtype for most, unused tensors in the first layer."""
    backbone = make_backbone()
    backbone["blocks.1.att.w0"] = backbone["blocks.1.att.w0"].float()
    backbone |= {
        "blocks.0.att.v0": torch.ones(1, 1, 128),
        "blocks.0.att.v1": torch.ones(128, 6),
        "blocks.0.att.v2": torch.ones(6, 128),
    }
    torch.save(backbone, tmp_path / "official.pth")
    return tmp_path / "official.pth"


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(convert, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def same_bits(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return ours.keys() == expected.keys() and all(
        ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor) for name, tensor in expected.items()
    )


def test_a_tour_of_all_formats_keeps_every_bit(official: Path, tmp_path: Path) -> None:
    backbone = torch.load(official, weights_only=True)
    unused = {f"blocks.0.att.v{number}" for number in range(3)}
    used = {name: tensor for name, tensor in backbone.items() if name not in unused}
    assert "2 layers of hidden size 128" in run(official, tmp_path / "a.safetensors")
    assert same_bits(load_file(tmp_path / "a.safetensors"), backbone), "files keep even what nothing uses"
    run(tmp_path / "a.safetensors", tmp_path / "deep" / "hub-0.4B")
    assert sorted(path.name for path in (tmp_path / "deep" / "hub-0.4B").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    run(tmp_path / "deep" / "hub-0.4B", tmp_path / "b.pth")
    assert same_bits(torch.load(tmp_path / "b.pth", weights_only=True), used)
    run(tmp_path / "b.pth", tmp_path / "c.pth", "--to", "fla")
    run(tmp_path / "c.pth" / "model.safetensors", tmp_path / "d.safetensors")
    assert same_bits(load_file(tmp_path / "d.safetensors"), used)


def test_shards_are_put_together(make_backbone: MakeBackbone, tmp_path: Path) -> None:
    run_tensors = {name: tensor.contiguous() for name, tensor in to_fla(make_backbone()).items()}
    names = sorted(run_tensors)
    shards = {"model-00001-of-00002.safetensors": names[:30], "model-00002-of-00002.safetensors": names[30:]}
    for file, listed in shards.items():
        save_file({name: run_tensors[name] for name in listed}, tmp_path / file)
    index = {name: file for file, listed in shards.items() for name in listed}
    (tmp_path / "model.safetensors.index.json").write_text(f'{{"weight_map": {index!r}}}'.replace("'", '"'))
    (tmp_path / "config.json").write_text('{"model_type": "rwkv7"}')
    assert same_bits(read_backbone(str(tmp_path)), make_backbone())


@pytest.mark.parametrize("target", ["taken.safetensors", "taken"])
def test_what_exists_is_never_overwritten(official: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / target).write_text("mine")
    with pytest.raises(CheckpointError, match="already exists"):
        run(official, tmp_path / target)
    assert (tmp_path / target).read_text() == "mine"


def test_a_format_that_contradicts_the_suffix_is_refused(official: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"does not end in \.safetensors"):
        run(official, tmp_path / "model.pth", "--to", "safetensors")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blocks.1.att.k_k", "missing: blocks.1.att.k_k"),
        ("emb.weight", "it has no matrix 'emb.weight'"),
    ],
)
def test_incomplete_weights_are_refused_by_name(official: Path, tmp_path: Path, name: str, message: str) -> None:
    backbone = torch.load(official, weights_only=True)
    del backbone[name]
    torch.save(backbone, tmp_path / "cut.pth")
    with pytest.raises(CheckpointError, match=message):
        run(tmp_path / "cut.pth", tmp_path / "model.safetensors")
    assert not (tmp_path / "model.safetensors").exists()


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*absent\.pth"):
        run(tmp_path / "absent.pth", tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"absent does not exist"):
        run(tmp_path / "absent", tmp_path / "model.safetensors")


def test_options_of_an_import_need_a_manifest(official: Path, tmp_path: Path) -> None:
    words = [str(official), str(tmp_path / "run"), "--modality", "image"]
    result = CliRunner().invoke(convert, words)
    assert result.exit_code == 2
    assert "--modality goes with --manifest" in result.output
