"""Named tensors on disk: what was written comes back, what does not fit is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from modrwkv_core.errors import CheckpointError, WriteError
from modrwkv_core.storage import files
from modrwkv_core.storage.tensors import check_finite, load_state_dict, read_metadata, read_tensors, write_tensors


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_views_are_written_without_their_storage(tmp_path: Path) -> None:
    large = torch.randn(1000, 100)
    write_tensors({"emb.weight": large[:2]}, tmp_path / "a.pth")
    write_tensors({"emb.weight": large[:2].mT}, tmp_path / "a.safetensors")
    assert (tmp_path / "a.pth").stat().st_size < 10_000
    assert torch.equal(read_tensors(tmp_path / "a.safetensors")["emb.weight"], large[:2].mT)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_failed_write_keeps_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    former = {"emb.weight": torch.ones(2, 2)}
    write_tensors(former, path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        write_tensors({"emb.weight": torch.zeros(2, 2)}, path)
    assert same_bits(read_tensors(path), former)
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_of_the_former_file_is_not_disturbed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_tensors({"emb.weight": torch.ones(2, 2)}, path)
    former = path.read_bytes()
    with path.open("rb") as reader:
        write_tensors({"emb.weight": torch.zeros(2, 2)}, path)
        assert reader.read() == former
    assert not read_tensors(path)["emb.weight"].any()


def test_tensors_that_share_memory_are_written_each(tmp_path: Path) -> None:
    shared = torch.randn(4, 3)
    for suffix in (".pth", ".safetensors"):
        path = tmp_path / f"tied{suffix}"
        write_tensors({"emb": shared, "head": shared}, path)
        assert same_bits(read_tensors(path), {"emb": shared, "head": shared})


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.bin"])
@pytest.mark.parametrize("zipped", [True, False])
def test_both_formats_of_pytorch_are_read(tmp_path: Path, name: str, zipped: bool) -> None:
    tensors = {"a": torch.randn(2, 3), "b": torch.arange(3)}
    torch.save(tensors, tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert same_bits(read_tensors(tmp_path / name), tensors)
    assert read_tensors(tmp_path / name, ["b"]).keys() == {"b"}


def test_metadata_come_back(tmp_path: Path) -> None:
    write_tensors({"a": torch.zeros(1)}, tmp_path / "a.safetensors", {"content": "a state"})
    assert read_metadata(tmp_path / "a.safetensors")["content"] == "a state"


def test_tensors_that_are_not_finite_are_named() -> None:
    tensors = {"good": torch.ones(2), "whole": torch.arange(3), "nan": torch.tensor([float("nan")])}
    tensors["inf"] = torch.tensor([1.0, float("inf")], dtype=torch.bfloat16)
    with pytest.raises(CheckpointError, match=r"w\.pth holds NaN or infinity in inf, nan"):
        check_finite(tensors, "w.pth")
    check_finite({"good": tensors["good"], "whole": tensors["whole"]}, "w.pth")


def test_a_module_on_the_meta_device_comes_to_the_cpu_in_its_dtype() -> None:
    with torch.device("meta"):
        module = nn.Linear(2, 3, dtype=torch.float32)
    tensors = {"weight": torch.ones(3, 2, dtype=torch.float64), "bias": torch.ones(3, dtype=torch.float64)}
    load_state_dict(module, tensors, "somewhere")
    assert module.weight.device.type == "cpu"
    assert module.weight.dtype == torch.float32
    assert module(torch.ones(2)).tolist() == [3.0, 3.0, 3.0]
