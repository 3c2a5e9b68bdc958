"""Weight files from anywhere: recognized, checked, and refused by name when they are damaged or hold something else."""

from __future__ import annotations

import contextlib
import io
import pickle
import resource
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from modrwkv_core.errors import CheckpointError
from modrwkv_core.storage.tensor_shapes import read_shapes, unwrapped_names
from modrwkv_core.storage.tensors import read_tensors

WEIGHTS = {"emb.weight": torch.arange(12.0).reshape(3, 4), "head.bias": torch.ones(5, dtype=torch.bfloat16)}


def saved(content: Any, *, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


WRITERS: dict[str, Callable[[], bytes]] = {
    "zip": lambda: saved(WEIGHTS),
    "legacy": lambda: saved(WEIGHTS, zipped=False),
    "safetensors": lambda: save(WEIGHTS),
}


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.safetensors", "w"])
def test_the_content_decides_and_not_the_name(tmp_path: Path, form: str, name: str) -> None:
    (tmp_path / name).write_bytes(WRITERS[form]())
    assert same_bits(read_tensors(tmp_path / name), WEIGHTS)
    assert read_tensors(tmp_path / name, ["head.bias"]).keys() == {"head.bias"}
    assert read_shapes(tmp_path / name) == {"emb.weight": (3, 4), "head.bias": (5,)}


def test_what_training_programs_save_is_read(tmp_path: Path) -> None:
    """Parameters, a module's own ordered dictionary, tied and sliced tensors, every dtype."""
    linear = torch.nn.Linear(3, 2)
    tied: dict[str, Tensor] = OrderedDict(linear.state_dict(keep_vars=True))
    tied |= {"tied": tied["weight"], "slice": torch.arange(10)[2:5], "turned": torch.ones(2, 3).T}
    dtypes = (torch.float64, torch.float16, torch.int8, torch.bool, torch.float8_e4m3fn, torch.uint16)
    tied |= {str(dtype): torch.zeros(2).to(dtype) for dtype in dtypes}
    torch.save(tied, tmp_path / "w.pth")
    found = read_tensors(tmp_path / "w.pth")
    assert found.keys() == tied.keys()
    assert all(found[name].dtype == tied[name].dtype for name in tied)
    assert torch.equal(found["tied"], linear.weight)
    assert found["slice"].tolist() == [2, 3, 4]
    torch.save(linear.state_dict(), tmp_path / "w.pth")
    assert same_bits(read_tensors(tmp_path / "w.pth"), linear.state_dict())


def flipped(content: bytes, places: list[tuple[int, int]]) -> bytes:
    damaged = bytearray(content)
    for place, bits in places:
        damaged[place % len(damaged)] ^= bits
    return bytes(damaged)


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("form", WRITERS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), max_size=4),
    cut=st.one_of(st.none(), st.integers(0, 3000)),
)
def test_damage_ends_in_an_error_of_ours_and_little_memory(
    tmp_path: Path, form: str, places: list[tuple[int, int]], cut: int | None
) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(flipped(WRITERS[form](), places)[:cut])
    before = peak_memory()
    for read in (read_tensors, read_shapes):
        with contextlib.suppress(CheckpointError):
            assert all(isinstance(name, str) for name in read(path))
    assert peak_memory() - before < 100 * 2**20


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=3))
def test_a_damaged_pickle_with_a_right_checksum_is_no_better(tmp_path: Path, places: list[tuple[int, int]]) -> None:
    with zipfile.ZipFile(io.BytesIO(saved(WEIGHTS))) as file:
        members = {name: file.read(name) for name in file.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    path = tmp_path / "damaged.pth"
    path.write_bytes(archive(members | {pickled: flipped(members[pickled], places)}))
    before = peak_memory()
    with contextlib.suppress(CheckpointError):
        assert all(tensor.nbytes <= path.stat().st_size for tensor in read_tensors(path).values())
    assert peak_memory() - before < 100 * 2**20


def test_wrong_bytes_of_a_tensor_are_noticed(tmp_path: Path) -> None:
    """The archive of torch.save holds checksums; flip one bit of the number 11.0."""
    content = saved(WEIGHTS)
    place = content.index(struct.pack("<2f", 10.0, 11.0))
    (tmp_path / "w.pth").write_bytes(flipped(content, [(place, 1)]))
    with pytest.raises(CheckpointError, match=r"w\.pth is damaged: the checksum of .*data/0 is wrong"):
        read_tensors(tmp_path / "w.pth")


class Exploit:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit",)


class Allocation:
    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (2**40,)


def expanded() -> bytes:
    """A file whose tensor claims 16 GB by strides of zero, over four bytes."""
    return saved({"a": torch.zeros(1).expand(2**32)})


def larger(content: bytes) -> bytes:
    """A legacy file that claims 2**30 elements where it holds 12."""
    return content.replace(b"K\x0cN", b"J\x00\x00\x00\x40N")


def numpy_archive() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", r"a Git LFS pointer.*\n.*lfs"),
        (b"GGUF\x03\x00\x00\x00", "is a GGUF file"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"root:x:0:0:root:/root:/bin/bash\n", "neither safetensors nor a file of torch.save"),
        (pickle.dumps({"a": 1}), "neither safetensors nor a file of torch.save"),
        (numpy_archive(), "an archive of NumPy arrays"),
        (archive({"a.txt": b"text"}), "not one of torch.save with weights"),
        (archive({"a/data.pkl": bytes(10**6)}, zipfile.ZIP_DEFLATED), "holds compressed tensors"),
        (saved({"a": Exploit()}), r"more than tensors: (builtins|__builtin__) exec"),
        (saved({"a": Exploit()}, zipped=False), r"more than tensors: (builtins|__builtin__) exec"),
        (saved({"a": Allocation()}), r"more than tensors: (builtins|__builtin__) bytearray"),
        (expanded(), "claims 4294967296 elements|more elements of a than"),
        (larger(saved(WEIGHTS, zipped=False)), "claims 1073741824 elements"),
        (saved({1: torch.zeros(2)}), "not a mapping of names to tensors"),
        (saved({None: torch.zeros(2)}), "not a mapping of names to tensors"),
        (saved({("a", 1): torch.zeros(2)}), "not a mapping of names to tensors"),
        (saved([torch.zeros(2)]), "not a mapping of names to tensors"),
        (saved({"model": {"a": torch.zeros(2)}}), "not a mapping of names to tensors"),
        (saved({"a": torch.zeros(2).to_sparse()}), "more than tensors: torch._utils _rebuild_sparse_tensor"),
        (struct.pack("<Q", 2**40) + b"{}", "cannot be read"),
        (
            struct.pack("<Q", 99) + b'{"a":{"dtype":"F32","shape":[4000000000,4000000000],"data_offsets":[0,4]}}',
            "cannot",
        ),
    ],
)
def test_what_holds_no_weights_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as raised:
        read_tensors(path)
    assert raised.value.hint
    with pytest.raises(CheckpointError, match=message):
        read_shapes(path)


@pytest.mark.parametrize("path", ["/dev/zero", "/etc", "/absent"])
def test_only_regular_files_are_read(path: str) -> None:
    for read in (read_tensors, read_shapes):
        with pytest.raises(CheckpointError, match=f"there is no checkpoint {path}"):
            read(Path(path))


@pytest.mark.parametrize(
    ("names", "plain"),
    [
        (["module.a.b", "module.c"], ["a.b", "c"]),
        (["_orig_mod.a.b", "_orig_mod.c"], ["a.b", "c"]),
        (["module._orig_mod.a", "module._orig_mod.b"], ["a", "b"]),
        (["blocks.0._orig_mod.att.w", "blocks.0._checkpoint_wrapped_module.ffn"], ["blocks.0.att.w", "blocks.0.ffn"]),
        (["module.a", "b"], ["module.a", "b"]),
        ([], []),
    ],
)
def test_wrappers_leave_the_names(names: list[str], plain: list[str]) -> None:
    assert list(unwrapped_names(names, "w.pth").values()) == plain


def test_a_name_with_and_without_a_wrapper_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"w\.pth holds 1 tensors twice.*such as a"):
        unwrapped_names(["a", "_orig_mod.a"], "w.pth")
