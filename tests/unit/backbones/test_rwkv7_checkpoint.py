"""Official checkpoints: layout, loading, refusing, writing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config
from modrwkv_core.backbones.rwkv7.checkpoint import read_official
from modrwkv_core.backbones.rwkv7.fla import to_fla
from modrwkv_core.errors import CheckpointError
from modrwkv_core.storage.tensors import read_tensors, write_tensors

Save = Callable[[dict[str, Tensor], Path], None]


def save_pth(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save(tensors, path)


def save_safetensors(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path)


FORMATS = pytest.mark.parametrize(
    ("suffix", "save"), [(".pth", save_pth), (".safetensors", save_safetensors)], ids=["pth", "safetensors"]
)


@pytest.fixture
def weights(make_model: Any) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = make_model(dtype=torch.bfloat16).state_dict()
    return dict(tensors)


def same_bits(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return ours.keys() == expected.keys() and all(
        ours[name].dtype == tensor.dtype and torch.equal(ours[name], tensor) for name, tensor in expected.items()
    )


def test_the_layout_is_the_official_one() -> None:
    """Names and shapes of RWKV-LM's weight table, here with D = 768, two num_layers, ranks 64/64/32/128."""
    hidden_size, intermediate_size, vocab = 768, 3072, 100
    norm = {"weight": (hidden_size,), "bias": (hidden_size,)}
    table: dict[str, tuple[int, ...]] = {"emb.weight": (vocab, hidden_size), "head.weight": (vocab, hidden_size)}
    table |= {f"{name}.{part}": shape for name in ("ln_out", "blocks.0.ln0") for part, shape in norm.items()}
    for layer in range(2):
        block: dict[str, tuple[int, ...]] = {
            f"{name}.{part}": shape for name in ("ln1", "ln2", "att.ln_x") for part, shape in norm.items()
        }
        vectors = ["x_r", "x_w", "x_k", "x_v", "x_a", "x_g", "w0", "a0", "k_k", "k_a"] + ["v0"] * layer
        block |= {f"att.{name}": (1, 1, hidden_size) for name in vectors}
        for name, rank in {"w": 64, "a": 64, "g": 128, **({"v": 32} if layer else {})}.items():
            block |= {f"att.{name}1": (hidden_size, rank), f"att.{name}2": (rank, hidden_size)}
        block |= {f"att.{name}.weight": (hidden_size, hidden_size) for name in ("receptance", "key", "value", "output")}
        block |= {"att.r_k": (12, 64), "ffn.x_k": (1, 1, hidden_size)}
        block |= {
            "ffn.key.weight": (intermediate_size, hidden_size),
            "ffn.value.weight": (hidden_size, intermediate_size),
        }
        table |= {f"blocks.{layer}.{name}": shape for name, shape in block.items()}
    with torch.device("meta"):
        model = RWKV7(RWKV7Config(num_layers=2, hidden_size=hidden_size), vocab)
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == table


@pytest.mark.parametrize(("num_layers", "hidden_size", "parameters"), [(12, 768, 191_034_624), (24, 1024, 450_767_872)])
def test_the_published_sizes_have_the_published_numbers_of_parameters(
    num_layers: int, hidden_size: int, parameters: int
) -> None:
    ranks = {"decay_low_rank_dim": 64, "a_low_rank_dim": 64, "v_low_rank_dim": 32, "gate_low_rank_dim": 128}
    with torch.device("meta"):
        model = RWKV7(RWKV7Config(num_layers=num_layers, hidden_size=hidden_size, **ranks), 65536)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@FORMATS
def test_loads_what_was_published(tmp_path: Path, weights: dict[str, Tensor], suffix: str, save: Save) -> None:
    path = tmp_path / f"model{suffix}"
    save(weights, path)
    model = RWKV7.from_checkpoint(path)
    assert same_bits(dict(model.state_dict()), {name: tensor.float() for name, tensor in weights.items()})
    assert all(parameter.requires_grad for parameter in model.parameters())
    rounded = RWKV7.from_checkpoint(path, dtype=torch.bfloat16)
    assert same_bits(dict(rounded.state_dict()), weights)


@FORMATS
def test_a_loaded_model_does_not_need_its_file(
    tmp_path: Path, weights: dict[str, Tensor], suffix: str, save: Save
) -> None:
    path = tmp_path / f"model{suffix}"
    save(weights, path)
    model = RWKV7.from_checkpoint(path, dtype=torch.bfloat16)
    with path.open("rb+") as file:
        file.write(b"\xff" * path.stat().st_size)
    assert same_bits(dict(model.state_dict()), weights)


def test_a_model_is_nan_until_its_weights_are_loaded(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, tmp_path / "model.pth")
    model = RWKV7(RWKV7Config(weights=tmp_path / "model.pth"), 32)
    parameters = list(model.parameters())
    assert all(parameter.isnan().all() for parameter in parameters)
    model.load_pretrained()
    assert same_bits(dict(model.state_dict()), {name: tensor.float() for name, tensor in weights.items()})
    assert all(ours is former for ours, former in zip(model.parameters(), parameters, strict=True))


def test_without_weights_there_is_nothing_to_load(make_model: Any) -> None:
    model = make_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.load_pretrained()
    assert same_bits(dict(model.state_dict()), before)


def test_the_first_layers_unused_tensors_are_ignored(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    extra = {
        "blocks.0.att.v0": torch.ones(1, 1, 16),
        "blocks.0.att.v1": torch.ones(16, 4),
        "blocks.0.att.v2": torch.ones(4, 16),
    }
    torch.save(weights | extra, tmp_path / "model.pth")
    model = RWKV7.from_checkpoint(tmp_path / "model.pth", dtype=torch.bfloat16)
    assert same_bits(dict(model.state_dict()), weights)


def damage_missing(weights: dict[str, Tensor]) -> None:
    del weights["blocks.1.att.k_k"], weights["ln_out.bias"]


def damage_unexpected(weights: dict[str, Tensor]) -> None:
    weights["blocks.1.ffn.s_emb.weight"] = weights["ln_out.bias"]
    weights["blocks.0.att.v3"] = weights["ln_out.bias"]


def damage_shape(weights: dict[str, Tensor]) -> None:
    weights["blocks.1.att.x_r"] = torch.zeros(1, 1, 15)
    weights["head.weight"] = torch.zeros(31, 16)


@FORMATS
@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (damage_missing, ["missing: blocks.1.att.k_k, ln_out.bias"]),
        (damage_unexpected, ["unexpected: blocks.0.att.v3, blocks.1.ffn.s_emb.weight"]),
        (
            damage_shape,
            ["blocks.1.att.x_r [1, 1, 15] instead of [1, 1, 16]", "head.weight [31, 16] instead of [32, 16]"],
        ),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_loaded(
    tmp_path: Path,
    weights: dict[str, Tensor],
    suffix: str,
    save: Save,
    damage: Callable[[dict[str, Tensor]], None],
    named: list[str],
) -> None:
    path = tmp_path / f"model{suffix}"
    damage(weights)
    save(weights, path)
    model = RWKV7(RWKV7Config(weights=path), 32)
    with pytest.raises(CheckpointError) as raised:
        model.load_pretrained()
    assert all(text in str(raised.value) for text in [str(path), *named])
    assert all(parameter.isnan().all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("blocks.3.ln1.bias", torch.zeros(16), r"no matrix 'blocks\.2\.ffn\.key\.weight'"),
        ("blocks.99999999.ln1.bias", torch.zeros(16), r"no matrix 'blocks\.2\.ffn\.key\.weight'"),
        ("blocks.0.att.w1", torch.zeros(1, 2**20), r"blocks\.0\.att\.w1 is \[1, 1048576\], which does not fit"),
        (
            "blocks.1.ffn.key.weight",
            torch.zeros(1, 16),
            r"blocks\.1\.ffn\.key\.weight is \[1, 16\], which does not fit",
        ),
        ("emb.weight", torch.zeros(2**40, 0), r"no matrix 'emb\.weight'"),
    ],
)
def test_sizes_that_the_tensors_do_not_have_build_no_model(
    tmp_path: Path, weights: dict[str, Tensor], name: str, tensor: Tensor, message: str
) -> None:
    save_safetensors(weights | {name: tensor}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        RWKV7Config(weights=tmp_path / "model.safetensors").sizes()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("blocks.0.att.receptance.lora_A", r"1 tensors of a LoRA adapter, such as blocks\.0\.att\.receptance\.lora_A"),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", "LoRA adapter"),
        ("blocks.0.att.time_maa_x", r"an RWKV-6 or older model: it has blocks\.0\.att\.time_maa_x"),
        ("blocks.0.att.time_mix_k", "an RWKV-6 or older model"),
        ("model.layers.0.self_attn.q_proj.weight", r"another kind of model: it has model\.layers\.0\.self_attn"),
    ],
)
def test_other_models_are_named(tmp_path: Path, name: str, message: str) -> None:
    torch.save({"emb.weight": torch.zeros(2, 2), name: torch.zeros(2, 2)}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=message) as raised:
        RWKV7Config(weights=tmp_path / "model.pth").sizes()
    assert raised.value.hint
    with pytest.raises(CheckpointError, match=message):
        read_official(str(tmp_path / "model.pth"))


@pytest.mark.parametrize("layout", ["bin", "sharded", "fla", "fla file", "wrapped", "legacy"])
def test_a_manifest_reads_every_layout(tmp_path: Path, make_model: Any, layout: str) -> None:
    model = make_model(dtype=torch.float32, head_dim=64, hidden_size=64)
    weights = dict(model.state_dict())
    path = tmp_path / "model.bin"
    if layout in ("bin", "legacy"):
        torch.save(weights, path, _use_new_zipfile_serialization=layout == "bin")
    elif layout == "wrapped":
        torch.save({f"module._orig_mod.{name}": tensor for name, tensor in weights.items()}, path)
    elif layout == "sharded":
        path = tmp_path
        names = sorted(weights)
        torch.save({name: weights[name] for name in names[:9]}, path / "a.bin")
        torch.save({name: weights[name] for name in names[9:]}, path / "b.bin")
        index = {name: "a.bin" if place < 9 else "b.bin" for place, name in enumerate(names)}
        (path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    else:
        path = tmp_path if layout == "fla" else tmp_path / "model.safetensors"
        save_safetensors({name: t.contiguous() for name, t in to_fla(weights).items()}, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text('{"model_type": "rwkv7"}')
    config = RWKV7Config(weights=path)
    assert config.sizes() == replace(model.sizes, vocab=model.vocab_size)
    loaded = RWKV7(config, model.vocab_size)
    loaded.load_pretrained()
    assert same_bits(dict(loaded.state_dict()), weights)


@FORMATS
def test_truncated_files_are_refused(tmp_path: Path, weights: dict[str, Tensor], suffix: str, save: Save) -> None:
    path = tmp_path / f"model{suffix}"
    save(weights, path)
    whole = path.read_bytes()
    for kept in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(CheckpointError, match=f"model{suffix}"):
            RWKV7.from_checkpoint(path)


class Exploit:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit",)


def test_code_in_a_pth_is_not_run(tmp_path: Path) -> None:
    torch.save({"emb.weight": Exploit()}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"model\.pth"):
        RWKV7.from_checkpoint(tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "not a mapping of names to tensors"),
        ({"model": {"emb.weight": torch.zeros(2, 2)}}, "not a mapping of names to tensors"),
        ({"model.embeddings.weight": torch.zeros(2, 2)}, "does not hold an RWKV-7: it has no matrix 'emb.weight'"),
        ({"emb.weight": torch.zeros(2, 2), "blocks.0.att.r_k": torch.zeros(3, 4)}, "3 heads of 4"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=message):
        RWKV7.from_checkpoint(tmp_path / "model.pth")


def test_missing_files_and_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        RWKV7.from_checkpoint(tmp_path / "model.safetensors")
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match="is a GGUF file"):
        read_tensors(tmp_path / "model.gguf")
    with pytest.raises(CheckpointError, match="neither in"):
        write_tensors({}, tmp_path / "model.bin")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_model_writes_what_it_reads(tmp_path: Path, make_model: Any, suffix: str) -> None:
    model = make_model(dtype=torch.float32)
    write_tensors(model.state_dict(), tmp_path / f"model{suffix}")
    assert same_bits(dict(RWKV7.from_checkpoint(tmp_path / f"model{suffix}").state_dict()), dict(model.state_dict()))


def test_only_large_matrices_decay_and_only_w0_learns_faster(make_model: Any) -> None:
    model = make_model()
    projections = ["att.receptance", "att.key", "att.value", "att.output", "ffn.key", "ffn.value"]
    assert model.weight_decay_parameters() == {
        "emb.weight",
        "head.weight",
        *(f"blocks.{layer}.{name}.weight" for layer in range(2) for name in projections),
    }
    assert model.lr_multipliers() == {"blocks.0.att.w0": 2.0, "blocks.1.att.w0": 2.0}
    assert model.lr_multipliers().keys() <= dict(model.named_parameters()).keys()
