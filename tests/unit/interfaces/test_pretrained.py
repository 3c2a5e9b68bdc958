from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import errors as hub_errors
from safetensors.torch import save_file
from torch import Tensor, nn

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.pretrained import checkpoint_file, checkpoint_json, load_strictly, load_tensors


def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"weight": torch.randn(3, 2), "bias": torch.randn(3), "text.embedding": torch.randn(4, 2)}


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def write_sharded(folder: Path, suffix: str) -> None:
    shards: dict[str, str] = {}
    for number, (name, tensor) in enumerate(weights().items()):
        file = f"part-{number}.{suffix}"
        if suffix == "safetensors":
            save_file({name: tensor}, folder / file)
        else:
            torch.save({name: tensor}, folder / file)
        shards[name] = file
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": shards}))


def test_every_layout_of_weights_is_read(tmp_path: Path) -> None:
    layouts = {name: tmp_path / name for name in ("safetensors", "bin", "sharded_safetensors", "sharded_bin")}
    for folder in layouts.values():
        folder.mkdir()
    save_file(weights(), layouts["safetensors"] / "model.safetensors")
    torch.save(weights(), layouts["bin"] / "pytorch_model.bin")
    write_sharded(layouts["sharded_safetensors"], "safetensors")
    write_sharded(layouts["sharded_bin"], "bin")
    for folder in layouts.values():
        assert same(load_tensors(str(folder)), weights()), folder.name
    assert same(load_tensors(str(layouts["bin"] / "pytorch_model.bin")), weights())


def test_tensors_are_chosen_and_renamed_before_they_are_read(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "model.safetensors")
    torch.save({f"module.{name}": tensor for name, tensor in weights().items()}, tmp_path / "other.bin")
    for reference in (tmp_path, tmp_path / "other.bin"):
        found = load_tensors(str(reference), lambda names: {name: f"my.{name}" for name in names if "text" not in name})
        assert same(found, {f"my.{name}": weights()[name] for name in ("weight", "bias")})


@pytest.mark.parametrize("weight_map", [[], {}, {"a": 1}, {"a": ["b"]}, {"a": "../secret.bin"}, {"a": "/etc/passwd"}])
def test_an_index_names_files_of_its_own_folder(tmp_path: Path, weight_map: object) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match="weight_map is not a mapping to file names"):
        load_tensors(str(tmp_path))


def test_files_lie_in_the_folder_or_beside_the_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    save_file(weights(), tmp_path / "other.safetensors")
    for reference in (str(tmp_path), str(tmp_path / "other.safetensors")):
        assert checkpoint_file(reference, "absent.json", "config.json") == tmp_path / "config.json"
        assert checkpoint_file(reference, "absent.json") is None
        assert checkpoint_json(reference, "config.json") == {"hidden_size": 8}


def test_absent_or_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere does not exist"):
        checkpoint_file(str(tmp_path / "nowhere"), "config.json")
    with pytest.raises(CheckpointError, match=r"has no config\.json or other\.json"):
        checkpoint_json(str(tmp_path), "config.json", "other.json")
    for content in ("{", "[]"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"config\.json is damaged"):
            checkpoint_json(str(tmp_path), "config.json")
    with pytest.raises(CheckpointError, match="has no weights"):
        load_tensors(str(tmp_path))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_truncated_weights_are_refused(tmp_path: Path, name: str) -> None:
    whole = tmp_path / name
    save_file(weights(), whole) if name.endswith("safetensors") else torch.save(weights(), whole)
    whole.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match=name):
        load_tensors(str(tmp_path))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_sharded(tmp_path, "safetensors")
    (tmp_path / "part-1.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"part-1\.safetensors"):
        load_tensors(str(tmp_path))


def test_code_in_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"weight": Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        load_tensors(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_strict_loading_takes_all_or_nothing() -> None:
    module = nn.Linear(2, 3)
    good = {name: tensor for name, tensor in weights().items() if name != "text.embedding"}
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    wrong = {
        "1 missing: bias": {"weight": good["weight"]},
        "1 unexpected: text.embedding": weights(),
        r"weight \[2, 3\] instead of \[3, 2\]": {**good, "weight": good["weight"].T},
    }
    for message, tensors in wrong.items():
        with pytest.raises(CheckpointError, match=message):
            load_strictly(module, tensors, "somewhere")
        assert same(dict(module.state_dict()), before)
    load_strictly(module, good, "somewhere")
    assert same(dict(module.state_dict()), good)


class Hub:
    """Stands for the hub: some files cached, some to download, the rest absent."""

    def __init__(self, cached: set[str], remote: set[str], online: bool = True) -> None:
        self.cached, self.remote, self.online = cached, remote, online

    def download(self, repository: str, name: str, local_files_only: bool) -> str:
        if name in self.cached:
            return f"/cache/{name}"
        if local_files_only or not self.online:
            raise hub_errors.LocalEntryNotFoundError("not cached")
        if name in self.remote:
            return f"/downloaded/{name}"
        raise hub_errors.EntryNotFoundError("no such file")


def test_of_a_model_id_the_cache_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(cached={"b.bin"}, remote={"a.safetensors", "b.bin", "c.json"})
    monkeypatch.setattr("huggingface_hub.hf_hub_download", hub.download)
    assert checkpoint_file("someone/model", "a.safetensors", "b.bin") == Path("/cache/b.bin")
    assert checkpoint_file("someone/model", "absent", "c.json") == Path("/downloaded/c.json")
    assert checkpoint_file("someone/model", "absent") is None


def test_an_unreachable_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.hf_hub_download", Hub(set(), set(), online=False).download)
    with pytest.raises(CheckpointError, match=r"config\.json of someone/model") as caught:
        checkpoint_file("someone/model", "config.json")
    assert "hf download someone/model" in str(caught.value)


def test_a_name_that_cannot_be_a_model_id_is_refused() -> None:
    with pytest.raises(CheckpointError, match="a/b/c is neither a local path nor a model"):
        checkpoint_file("a/b/c", "config.json")
