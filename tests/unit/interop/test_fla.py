"""flash-linear-attention's layout: names, shapes, arithmetic, and the library itself where it is installed."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config
from modrwkv_core.backbones.rwkv7.fla import fla_config, from_fla, to_fla
from modrwkv_core.errors import CheckpointError
from modrwkv_core.interop.backbone import read_backbone, sizes_of, write_backbone

MakeBackbone = Callable[..., dict[str, Tensor]]
Array = NDArray[np.float64]

LAYER: dict[str, tuple[int, ...]] = {
    "attn_norm.weight": (128,),
    "attn_norm.bias": (128,),
    "ffn_norm.weight": (128,),
    "ffn_norm.bias": (128,),
    "attn.x_r": (1, 1, 128),
    "attn.x_w": (1, 1, 128),
    "attn.x_k": (1, 1, 128),
    "attn.x_v": (1, 1, 128),
    "attn.x_a": (1, 1, 128),
    "attn.x_g": (1, 1, 128),
    "attn.k_k": (128,),
    "attn.k_a": (128,),
    "attn.r_k": (2, 64),
    "attn.r_proj.weight": (128, 128),
    "attn.k_proj.weight": (128, 128),
    "attn.v_proj.weight": (128, 128),
    "attn.o_proj.weight": (128, 128),
    "attn.w_lora.lora.0.weight": (8, 128),
    "attn.w_lora.lora.2.weight": (128, 8),
    "attn.w_lora.lora.2.bias": (128,),
    "attn.a_lora.lora.0.weight": (10, 128),
    "attn.a_lora.lora.2.weight": (128, 10),
    "attn.a_lora.lora.2.bias": (128,),
    "attn.g_lora.lora.0.weight": (12, 128),
    "attn.g_lora.lora.2.weight": (128, 12),
    "attn.g_norm.weight": (128,),
    "attn.g_norm.bias": (128,),
    "ffn.x_k": (128,),
    "ffn.key.weight": (160, 128),
    "ffn.value.weight": (128, 160),
}
ONLY_FIRST: dict[str, tuple[int, ...]] = {"pre_norm.weight": (128,), "pre_norm.bias": (128,)}
NOT_FIRST: dict[str, tuple[int, ...]] = {
    "attn.v_lora.lora.0.weight": (6, 128),
    "attn.v_lora.lora.2.weight": (128, 6),
    "attn.v_lora.lora.2.bias": (128,),
}
LAYOUT: dict[str, tuple[int, ...]] = {
    "model.embeddings.weight": (96, 128),
    "model.norm.weight": (128,),
    "model.norm.bias": (128,),
    "lm_head.weight": (96, 128),
    **{f"model.layers.0.{name}": shape for name, shape in (LAYER | ONLY_FIRST).items()},
    **{f"model.layers.1.{name}": shape for name, shape in (LAYER | NOT_FIRST).items()},
}
"""What flash-linear-attention 0.6.0 saves of a model with these sizes, written down from its own ``state_dict``."""


def same_bits(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return ours.keys() == expected.keys() and all(
        ours[name].dtype == tensor.dtype and ours[name].shape == tensor.shape and torch.equal(ours[name], tensor)
        for name, tensor in expected.items()
    )


def test_the_layout_is_that_of_the_library(make_backbone: MakeBackbone) -> None:
    assert {name: tuple(tensor.shape) for name, tensor in to_fla(make_backbone()).items()} == LAYOUT


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_both_ways_give_every_bit_back(make_backbone: MakeBackbone, data: st.DataObject) -> None:
    dtypes = st.sampled_from([torch.bfloat16, torch.float16, torch.float32, torch.float64])
    backbone = {
        name: tensor.to(data.draw(dtypes))
        for name, tensor in make_backbone(num_layers=data.draw(st.integers(1, 4))).items()
    }
    assert same_bits(from_fla(to_fla(backbone)), backbone)


def test_tensors_that_nothing_uses_are_left_out(make_backbone: MakeBackbone) -> None:
    backbone = make_backbone()
    unused = {f"blocks.0.att.v{number}": torch.ones(2, 2) for number in range(3)}
    assert same_bits(from_fla(to_fla(backbone | unused)), backbone)


def test_the_first_version_stacked_the_token_shifts(make_backbone: MakeBackbone) -> None:
    backbone = make_backbone()
    old = to_fla(backbone)
    for layer in range(2):
        rows = [old.pop(f"model.layers.{layer}.attn.x_{letter}").reshape(-1) for letter in "rwkvag"]
        old[f"model.layers.{layer}.attn.x_x"] = torch.stack(rows)
    assert same_bits(from_fla(old), backbone)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def norm(x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(-1, keepdims=True) + eps) * weight + bias


def fla_logits(tensors: dict[str, Tensor], config: dict[str, Any], ids: list[int]) -> Array:
    """RWKV-7 written out token by token on FLA's names, matrices applied as ``nn.Linear`` does: ``W x + b``."""
    w = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    heads, size, width = config["num_heads"], config["head_dim"], config["hidden_size"]
    states = np.zeros((config["num_hidden_layers"], heads, size, size))
    shifts = np.zeros((config["num_hidden_layers"], 2, width))
    logits = []
    for token in ids:
        x = w["model.embeddings.weight"][token]
        first_value = np.zeros(width)
        for layer in range(config["num_hidden_layers"]):
            p = {name.removeprefix(f"model.layers.{layer}."): value for name, value in w.items()}

            def low_rank(name: str, z: Array, inner: Callable[[Array], Array], p: dict[str, Array] = p) -> Array:
                hidden = inner(p[f"attn.{name}_lora.lora.0.weight"] @ z)
                return p[f"attn.{name}_lora.lora.2.weight"] @ hidden + p.get(f"attn.{name}_lora.lora.2.bias", 0.0)

            def per_head(z: Array) -> Array:
                return z.reshape(heads, size)

            if layer == 0:
                x = norm(x, p["pre_norm.weight"], p["pre_norm.bias"])
            z = norm(x, p["attn_norm.weight"], p["attn_norm.bias"])
            delta, shifts[layer, 0] = shifts[layer, 0] - z, z
            z_r, z_w, z_k, z_v, z_a, z_g = (z + delta * p[f"attn.x_{letter}"].reshape(-1) for letter in "rwkvag")
            r = p["attn.r_proj.weight"] @ z_r
            decay = np.exp(-np.exp(-0.5) * sigmoid(low_rank("w", z_w, np.tanh)))
            k, v = p["attn.k_proj.weight"] @ z_k, p["attn.v_proj.weight"] @ z_v
            if layer == 0:
                first_value = v
            else:
                v = v + (first_value - v) * sigmoid(low_rank("v", z_v, lambda same: same))
            rate = sigmoid(low_rank("a", z_a, lambda same: same))
            gate = low_rank("g", z_g, sigmoid)
            kk = per_head(k * p["attn.k_k"])
            kk = kk / np.maximum(np.linalg.norm(kk, axis=-1, keepdims=True), 1e-12)
            k = k * (1 + (rate - 1) * p["attn.k_a"])
            r, decay, k, v, rate = (per_head(vector) for vector in (r, decay, k, v, rate))
            state = states[layer]
            removed = np.einsum("hvk,hk->hv", state, -kk)
            state = state * decay[:, None, :] + removed[:, :, None] * (kk * rate)[:, None, :]
            states[layer] = state = state + v[:, :, None] * k[:, None, :]
            out = np.einsum("hvk,hk->hv", state, r)
            out = norm(out, per_head(p["attn.g_norm.weight"]), per_head(p["attn.g_norm.bias"]), size * 1e-5)
            out = out + (r * k * p["attn.r_k"]).sum(-1, keepdims=True) * v
            x = x + p["attn.o_proj.weight"] @ (out.reshape(-1) * gate)
            z = norm(x, p["ffn_norm.weight"], p["ffn_norm.bias"])
            mixed, shifts[layer, 1] = z + (shifts[layer, 1] - z) * p["ffn.x_k"], z
            x = x + p["ffn.value.weight"] @ np.maximum(p["ffn.key.weight"] @ mixed, 0) ** 2
        logits.append(w["lm_head.weight"] @ norm(x, w["model.norm.weight"], w["model.norm.bias"]))
    return np.stack(logits)


def official_logits(backbone: dict[str, Tensor], ids: list[int]) -> Array:
    sizes = sizes_of(backbone, "the backbone")
    assert sizes.vocab is not None
    model = RWKV7(
        RWKV7Config(
            num_layers=sizes.num_layers,
            hidden_size=sizes.hidden_size,
            intermediate_size=sizes.intermediate_size,
            **ranks(backbone),
        ),
        sizes.vocab,
    )
    model.double().load_state_dict({name: tensor.double() for name, tensor in backbone.items()})
    with torch.no_grad():
        hidden, _ = model(model.embed(torch.tensor([ids])))
        return model.logits(hidden)[0].numpy()


def ranks(backbone: dict[str, Tensor]) -> dict[str, int]:
    letters = {"decay_low_rank_dim": "w", "a_low_rank_dim": "a", "v_low_rank_dim": "v", "gate_low_rank_dim": "g"}
    return {name: backbone[f"blocks.1.att.{letter}1"].shape[1] for name, letter in letters.items()}


def test_a_converted_model_computes_the_same(make_backbone: MakeBackbone) -> None:
    backbone = make_backbone()
    ids = torch.randint(96, (12,), generator=torch.Generator().manual_seed(0)).tolist()
    config = fla_config(sizes_of(backbone, "the backbone"), torch.bfloat16)
    expected = official_logits(backbone, ids)
    np.testing.assert_allclose(fla_logits(to_fla(backbone), config, ids), expected, rtol=0, atol=1e-9)
    assert np.abs(expected).max() > 1


@pytest.fixture
def library() -> Any:
    """FLA's RWKV-7."""
    pytest.importorskip("fla", reason="flash-linear-attention is not installed")
    return importlib.import_module("fla.models.rwkv7").RWKV7ForCausalLM


@pytest.mark.filterwarnings("ignore")  # the library warns of its own arithmetic, and of what it finds on the machine
def test_the_library_takes_the_folder_as_its_own(library: Any, make_backbone: MakeBackbone, tmp_path: Path) -> None:
    write_backbone(make_backbone(), tmp_path / "hub", "fla")
    theirs, report = library.from_pretrained(tmp_path / "hub", output_loading_info=True)
    assert not any(report.values())
    assert theirs.dtype == torch.bfloat16
    theirs.save_pretrained(tmp_path / "saved")
    assert same_bits(read_backbone(str(tmp_path / "saved")), make_backbone())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba2"}, "holds a 'mamba2'"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"norm_eps": 1e-6}, "norm_eps = 1e-06"),
        ({"attn": {"layers": [1]}}, "attn ="),
        ({"head_dim": 32}, "head_dim = 32"),
    ],
)
def test_other_arithmetic_is_refused(
    make_backbone: MakeBackbone, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    write_backbone(make_backbone(), tmp_path / "hub", "fla")
    config = tmp_path / "hub" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(CheckpointError, match=message):
        read_backbone(str(tmp_path / "hub"))


def test_heads_of_another_size_are_refused(make_backbone: MakeBackbone, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="heads of 32"):
        write_backbone(make_backbone(head_dim=32), tmp_path / "hub", "fla")
    assert list(tmp_path.iterdir()) == []


def test_tensors_of_another_model_are_named(make_backbone: MakeBackbone, tmp_path: Path) -> None:
    tensors = to_fla(make_backbone()) | {"model.layers.1.attn.q_conv1d.weight": torch.ones(2)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"not those of an RWKV-7: model\.layers\.1\.attn\.q_conv1d\.weight"):
        read_backbone(str(tmp_path / "model.safetensors"))
