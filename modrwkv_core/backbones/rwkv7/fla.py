"""The layout of flash-linear-attention: names, orientation and configuration of its ``RWKV7ForCausalLM``.

Both layouts hold the same numbers. The differences: other names; the low-rank matrices are stored as ``nn.Linear`` has
them (transposed); vectors are ``[hidden_size]`` instead of ``[1, 1, hidden_size]``, except for the six token-shift
coefficients of time mixing; and the first layer, which has no value residual, has no ``v0``, ``v1`` and ``v2``, which
official files hold but do not use.

Source: flash-linear-attention 0.6.0, ``fla/models/rwkv7`` and ``fla/layers/rwkv7.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import torch
from torch import Tensor

from modrwkv_core.backbones.rwkv7.sizes import RWKV7Sizes
from modrwkv_core.errors import CheckpointError

__all__ = ["UNUSED", "check_config", "fla_config", "from_fla", "to_fla"]

UNUSED: Final = frozenset({"blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2"})
"""The first layer has no value residual, yet many official files hold tensors for it."""

Form = Literal["same", "transposed", "vector"]
"""How to convert a tensor; ``vector``: ``[1, 1, hidden_size]`` here, ``[hidden_size]`` in fla."""

_MODEL: Final = {
    "emb.weight": "model.embeddings.weight",
    "ln_out.weight": "model.norm.weight",
    "ln_out.bias": "model.norm.bias",
    "head.weight": "lm_head.weight",
}

_SHIFTS: Final = "rwkvag"
"""The token-shift coefficients in the order in which FLA's first version stacked them as ``x_x [6, hidden_size]``."""


def _block() -> dict[str, tuple[str, Form]]:
    norms = {"ln0": "pre_norm", "ln1": "attn_norm", "ln2": "ffn_norm", "att.ln_x": "attn.g_norm"}
    projections = {"receptance": "r_proj", "key": "k_proj", "value": "v_proj", "output": "o_proj"}
    table: dict[str, tuple[str, Form]] = {
        f"{ours}.{part}": (f"{theirs}.{part}", "same") for ours, theirs in norms.items() for part in ("weight", "bias")
    }
    table |= {f"att.{ours}.weight": (f"attn.{theirs}.weight", "same") for ours, theirs in projections.items()}
    table |= {f"att.x_{letter}": (f"attn.x_{letter}", "same") for letter in _SHIFTS}
    for letter in "wavg":
        table[f"att.{letter}1"] = (f"attn.{letter}_lora.lora.0.weight", "transposed")
        table[f"att.{letter}2"] = (f"attn.{letter}_lora.lora.2.weight", "transposed")
    table |= {f"att.{letter}0": (f"attn.{letter}_lora.lora.2.bias", "vector") for letter in "wav"}
    table |= {f"att.{name}": (f"attn.{name}", "vector") for name in ("k_k", "k_a")}
    table |= {"att.r_k": ("attn.r_k", "same"), "ffn.x_k": ("ffn.x_k", "vector")}
    return table | {f"ffn.{name}.weight": (f"ffn.{name}.weight", "same") for name in ("key", "value")}


_TO_FLA: Final = _block()
_FROM_FLA: Final = {theirs: (ours, form) for ours, (theirs, form) in _TO_FLA.items()}


def to_fla(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and turn the tensors of an official checkpoint, without those of the first layer that nothing uses.

    Raises:
        CheckpointError: A name is not one of an RWKV-7.
    """
    used = {name: tensor for name, tensor in tensors.items() if name not in UNUSED}
    return _translate(used, _MODEL, r"blocks\.(\d+)\.(.+)", "model.layers", _TO_FLA, _flattened)


def from_fla(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and turn the tensors of an FLA checkpoint; the exact inverse of :func:`to_fla`.

    Raises:
        CheckpointError: A name is not one of FLA's RWKV-7.
    """
    top = {theirs: ours for ours, theirs in _MODEL.items()}
    return _translate(_unstacked(tensors), top, r"model\.layers\.(\d+)\.(.+)", "blocks", _FROM_FLA, _unflattened)


def _translate(
    tensors: Mapping[str, Tensor],
    top: Mapping[str, str],
    pattern: str,
    prefix: str,
    block: Mapping[str, tuple[str, Form]],
    turn_vector: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    translated: dict[str, Tensor] = {}
    unknown = []
    for name, tensor in tensors.items():
        within = re.fullmatch(pattern, name)
        if name in top:
            translated[top[name]] = tensor
        elif within is None or within[2] not in block:
            unknown.append(name)
        else:
            other, form = block[within[2]]
            turned = {"same": lambda same: same, "transposed": lambda matrix: matrix.mT, "vector": turn_vector}[form]
            translated[f"{prefix}.{within[1]}.{other}"] = turned(tensor)
    if unknown:
        shown = ", ".join(sorted(unknown)[:8]) + (f" and {len(unknown) - 8} more" if len(unknown) > 8 else "")
        raise CheckpointError(
            f"these tensors are not those of an RWKV-7: {shown}",
            hint="only plain RWKV-7 language models can be converted",
        )
    return translated


def _flattened(vector: Tensor) -> Tensor:
    return vector.reshape(-1)


def _unflattened(vector: Tensor) -> Tensor:
    return vector.reshape(1, 1, -1)


def _unstacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split the stacked coefficients that FLA wrote until 2025."""
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(".attn.x_x") and tensor.shape[0] == len(_SHIFTS):
            attention = name.removesuffix("x_x")
            plain |= {f"{attention}x_{letter}": _unflattened(row) for letter, row in zip(_SHIFTS, tensor, strict=True)}
        else:
            plain[name] = tensor
    return plain


_CONSTANTS: Final[dict[str, Any]] = {
    "hidden_act": "sqrelu",
    "norm_first": True,
    "norm_bias": True,
    "norm_eps": 1e-5,
    "attn": None,
    "tie_word_embeddings": False,
}
"""What an RWKV-7 has of all that FLA's configuration allows; also FLA's defaults."""

_HEAD_SIZE: Final = 64
"""FLA ties the epsilon of the heads' group norm to the head size; only here it is the official 64e-5."""


def check_config(config: Mapping[str, Any], source: str) -> None:
    """Refuse an FLA configuration whose model the official layout cannot express.

    Args:
        config: What ``config.json`` holds.
        source: Where it comes from, for the message.

    Raises:
        CheckpointError: It is that of another model, or of an RWKV-7 with other arithmetic.
    """
    if config.get("model_type") != "rwkv7":
        raise CheckpointError(f"{source} holds a {config.get('model_type')!r}, not an 'rwkv7'")
    wanted = _CONSTANTS | {"head_dim": _HEAD_SIZE}
    differing = {key: config[key] for key in wanted if key in config and config[key] != wanted[key]}
    if differing:
        listed = ", ".join(f"{key} = {value!r}" for key, value in differing.items())
        raise CheckpointError(
            f"{source} is not an official RWKV-7: {listed}",
            hint=f"the official layout means {', '.join(f'{key} = {wanted[key]!r}' for key in differing)}",
        )


def fla_config(sizes: RWKV7Sizes, dtype: torch.dtype) -> dict[str, Any]:
    """Return ``config.json`` for an RWKV-7 of these sizes; what only concerns speed is left to FLA's defaults.

    Raises:
        CheckpointError: FLA would compute this model otherwise: its heads are not 64 wide.
    """
    if sizes.head_dim != _HEAD_SIZE:
        raise CheckpointError(
            f"flash-linear-attention computes heads of {sizes.head_dim} otherwise than the official RWKV-7",
            hint="only models with head_dim 64 can be converted, as all published ones are",
        )
    return {
        "architectures": ["RWKV7ForCausalLM"],
        "model_type": "rwkv7",
        "torch_dtype": str(dtype).removeprefix("torch."),
        "vocab_size": sizes.vocab,
        "hidden_size": sizes.hidden_size,
        "num_hidden_layers": sizes.num_layers,
        "num_heads": sizes.num_heads,
        "head_dim": sizes.head_dim,
        "value_dim": [sizes.hidden_size] * sizes.num_layers,
        "intermediate_size": sizes.intermediate_size,
        "decay_low_rank_dim": sizes.decay_low_rank_dim,
        "a_low_rank_dim": sizes.a_low_rank_dim,
        "v_low_rank_dim": sizes.v_low_rank_dim,
        "gate_low_rank_dim": sizes.gate_low_rank_dim,
        # Id 0 ends documents in the World vocabulary; FLA's own defaults are ordinary bytes there.
        "bos_token_id": 0,
        "eos_token_id": 0,
        **_CONSTANTS,
    }
