"""Whisper in CTranslate2's layout, as faster-whisper uses it: which names and shapes stand for the encoder.

Source: ``python/ctranslate2/specs/whisper_spec.py`` and ``python/ctranslate2/converters/transformers.py`` of
github.com/OpenNMT/CTranslate2.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.pretrained import checkpoint_file, checkpoint_json
from modrwkv_whisper.ctranslate2 import CTranslate2File
from modrwkv_whisper.pretrained import KNOWN_CHECKPOINTS

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["find_ctranslate2", "read_encoder", "read_sizes"]

SPECIFICATION: Final = ("WhisperSpec", 3)
LAYER: Final = re.compile(r"encoder/layer_(\d+)/")
UNUSED: Final = re.compile(r"decoder/.*|encoder/num_heads")

ATTENTION: Final = "self_attention/linear_0"
"""Queries, keys and values of a layer, one above the other. Whisper's keys have no bias: zeros stand in its place."""

OUTER: Final = {
    "conv1.weight": "conv1/weight",
    "conv1.bias": "conv1/bias",
    "conv2.weight": "conv2/weight",
    "conv2.bias": "conv2/bias",
    "embed_positions.weight": "position_encodings/encodings",
    "layer_norm.weight": "layer_norm/gamma",
    "layer_norm.bias": "layer_norm/beta",
}
"""Names of CTranslate2 by those of transformers, outside of the layers."""

INNER: Final = {
    "self_attn_layer_norm.weight": "self_attention/layer_norm/gamma",
    "self_attn_layer_norm.bias": "self_attention/layer_norm/beta",
    "self_attn.out_proj.weight": "self_attention/linear_1/weight",
    "self_attn.out_proj.bias": "self_attention/linear_1/bias",
    "final_layer_norm.weight": "ffn/layer_norm/gamma",
    "final_layer_norm.bias": "ffn/layer_norm/beta",
    "fc1.weight": "ffn/linear_0/weight",
    "fc1.bias": "ffn/linear_0/bias",
    "fc2.weight": "ffn/linear_1/weight",
    "fc2.bias": "ffn/linear_1/bias",
}
"""The same in every layer."""


def find_ctranslate2(reference: str) -> Path | None:
    """Return the weight file of a checkpoint in CTranslate2's layout; None if it has another layout.

    A checkpoint of transformers says its ``model_type`` in ``config.json``, CTranslate2's has none there.

    Args:
        reference: A Hugging Face model id, a folder, or a weight file.

    Raises:
        CheckpointError: There is no such checkpoint, or its ``config.json`` is damaged.
    """
    path = Path(reference)
    if reference in KNOWN_CHECKPOINTS or checkpoint_file(reference, "config.json") is None:
        return None
    if "model_type" in checkpoint_json(reference, "config.json"):
        return None
    return path if path.is_file() and path.suffix == ".bin" else checkpoint_file(reference, "model.bin")


def read_sizes(path: Path) -> dict[str, Any]:
    """Return the sizes that a configuration states, from the shapes in the file.

    Raises:
        CheckpointError: The file is damaged, or not a Whisper model.
    """
    file = _open(path)
    names = {"conv1/weight": 3, "position_encodings/encodings": 2, "layer_0/ffn/linear_0/weight": 2}
    convolution, positions, mlp = (_shape(file, f"encoder/{name}", rank) for name, rank in names.items())
    _shape(file, "encoder/num_heads", 0)
    return {
        "mel_bins": convolution[1],
        "window": positions[0],
        "hidden_size": convolution[0],
        "num_layers": _num_layers(file),
        "num_heads": int(file.read("encoder/num_heads")),
        "intermediate_size": mlp[0],
    }


def read_encoder(path: Path) -> dict[str, Tensor]:
    """Return the encoder's tensors under the names of ``transformers``, exactly those of the file.

    Raises:
        CheckpointError: The file is damaged, or a tensor is missing or left over.
    """
    file = _open(path)
    tensors = {ours: file.read(f"encoder/{theirs}") for ours, theirs in OUTER.items()}
    used = set(OUTER.values())
    for layer in range(_num_layers(file)):
        scope = f"layer_{layer}"
        tensors |= {f"layers.{layer}.{ours}": file.read(f"encoder/{scope}/{theirs}") for ours, theirs in INNER.items()}
        tensors |= {f"layers.{layer}.self_attn.{name}": each for name, each in _attention(file, scope).items()}
        used |= {f"{scope}/{name}" for name in (*INNER.values(), f"{ATTENTION}/weight", f"{ATTENTION}/bias")}
    left = sorted(file.variables.keys() - {f"encoder/{name}{scale}" for name in used for scale in ("", "_scale")})
    unexpected = [name for name in left if not UNUSED.fullmatch(name)]
    if unexpected:
        raise CheckpointError(
            f"{path} holds {len(unexpected)} unexpected tensors, such as {unexpected[0]}",
            hint="give a Whisper model that ct2-transformers-converter made",
        )
    return tensors


def _attention(file: CTranslate2File, scope: str) -> dict[str, Tensor]:
    weight_name, bias_name = (f"encoder/{scope}/{ATTENTION}/{kind}" for kind in ("weight", "bias"))
    rows, hidden = _shape(file, weight_name, 2)
    if rows != 3 * hidden or _shape(file, bias_name, 1) != (rows,):
        raise CheckpointError(
            f"{file.path}: {weight_name} is [{rows}, {hidden}], not square queries, keys and values",
            hint="give a Whisper model that ct2-transformers-converter made",
        )
    queries, keys, values = file.read(weight_name).chunk(3)
    query_bias, key_bias, value_bias = file.read(bias_name).chunk(3)
    if key_bias.any():
        raise CheckpointError(
            f"{file.path}: {bias_name} holds a bias of the keys, which Whisper does not have",
            hint="give a Whisper model that ct2-transformers-converter made",
        )
    return {
        "q_proj.weight": queries,
        "q_proj.bias": query_bias,
        "k_proj.weight": keys,
        "v_proj.weight": values,
        "v_proj.bias": value_bias,
    }


def _open(path: Path) -> CTranslate2File:
    file = CTranslate2File(path)
    if (file.specification, file.revision) != SPECIFICATION:
        raise CheckpointError(
            f"{path} holds a {file.specification} of revision {file.revision}, not a {SPECIFICATION[0]} of revision "
            f"{SPECIFICATION[1]}",
            hint="give a Whisper model, converted by a current ct2-transformers-converter",
        )
    return file


def _num_layers(file: CTranslate2File) -> int:
    return len({match[1] for match in map(LAYER.match, file.variables) if match})


def _shape(file: CTranslate2File, name: str, rank: int) -> tuple[int, ...]:
    variable = file.variables.get(name)
    if variable is None or len(variable.shape) != rank:
        found = "is missing" if variable is None else f"has shape {list(variable.shape)}, not {rank} dimensions"
        raise CheckpointError(
            f"{file.path}: {name} {found}", hint="give a Whisper model that ct2-transformers-converter made"
        )
    return variable.shape
