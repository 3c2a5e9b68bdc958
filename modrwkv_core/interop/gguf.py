"""The layout of llama.cpp: one GGUF file with the weights, the sizes, the vocabulary and the chat template.

llama.cpp's ``rwkv7`` architecture names the tensors otherwise, stores the low-rank matrices transposed, keeps the six
token-shift coefficients of a block in one tensor ``[6, 1, 1, hidden_size]``, and expects a value residual in the first
layer, which it reads and does not use. Vectors and the decay's low-rank matrices stay in float32.

Source: llama.cpp, ``convert_hf_to_gguf.py`` (``Rwkv7Model``, ``_set_vocab_rwkv_world``) and PyPI ``gguf``,
``MODEL_ARCH.RWKV7``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from modrwkv_kernels.decode_weights import lossless_format
from torch import Tensor

from modrwkv_core.backbones.rwkv7.sizes import RWKV7Sizes
from modrwkv_core.data.templates import ChatTemplate
from modrwkv_core.data.tokenizers.bytes import BytesTokenizer
from modrwkv_core.data.tokenizers.world import WorldTokenizer
from modrwkv_core.errors import CheckpointError, ModRWKVError
from modrwkv_core.interfaces.tokenizer import SpecialIds, Tokenizer
from modrwkv_core.storage.files import atomic_write

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

__all__ = ["OutType", "write_gguf"]

OutType = Literal["auto", "f32", "f16", "bf16", "q8_0"]

_TURN_START, _TURN_END = "\x16", "\x17"
_PREFIX: Final = "{{- {'system': 'System:', 'user': 'User:', 'assistant': 'Assistant:'}[message['role']] -}}"
_MARKED_TURN: Final = (
    f"{{{{- '\x16' -}}}}{_PREFIX}"
    "{{- message['content'] | replace('\x16', '\u2416') | replace('\x17', '\u2417') + '\x17' -}}"
)
_PLAIN_TURN: Final = (
    f"{_PREFIX}{{{{- ' ' -}}}}"
    "{%- for line in message['content'].replace('\\r\\n', '\\n').strip().split('\\n') if line -%}"
    "{{- ('' if loop.first else '\\n') + line -}}"
    "{%- endfor -%}"
    "{{- '\\n\\n' -}}"
)
"""Blank lines end turns, so those within a message are taken out."""

_CONTEXT_LENGTH: Final = 1_048_576
"""What llama.cpp's converter writes: a recurrent model has no longest context."""

_TOP: Final = {
    "emb.weight": "token_embd.weight",
    "ln_out.weight": "output_norm.weight",
    "ln_out.bias": "output_norm.bias",
    "head.weight": "output.weight",
    "blocks.0.ln0.weight": "token_embd_norm.weight",
    "blocks.0.ln0.bias": "token_embd_norm.bias",
}
_SHIFTS: Final = tuple(f"att.x_{letter}" for letter in "rwkvag")
_LOW_RANK: Final = frozenset(f"att.{letter}{number}" for letter in "wavg" for number in (1, 2))
_FIRST_RESIDUAL: Final = {"att.v0": "att.a0", "att.v1": "att.a1", "att.v2": "att.a2"}
"""What stands in for the value residual of the first layer, as in llama.cpp's converter: nothing uses it."""


def _block() -> dict[str, str]:
    norms = {"ln1": "attn_norm", "ln2": "attn_norm_2", "att.ln_x": "time_mix_ln"}
    table = {f"{ours}.{part}": f"{theirs}.{part}" for ours, theirs in norms.items() for part in ("weight", "bias")}
    vectors = ["w0", "a0", "v0", "k_k", "k_a", "r_k"]
    low_rank = [name.removeprefix("att.") for name in _LOW_RANK]
    table |= {f"att.{name}": f"time_mix_{name}.weight" for name in (*vectors, *low_rank)}
    projections = ("receptance", "key", "value", "output")
    table |= {f"att.{name}.weight": f"time_mix_{name}.weight" for name in projections}
    table |= {f"ffn.{name}.weight": f"channel_mix_{name}.weight" for name in ("key", "value")}
    return table | {"ffn.x_k": "channel_mix_lerp_k.weight"}


_BLOCK: Final = _block()


def write_gguf(
    tensors: Mapping[str, Tensor],
    sizes: RWKV7Sizes,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    target: Path,
    out_type: OutType = "auto",
    *,
    name: str,
) -> str:
    """Write an RWKV-7 language model as a GGUF file for llama.cpp; whole or not at all.

    Args:
        tensors: The model by official names.
        sizes: Its sizes.
        tokenizer: ``world`` or ``bytes``.
        template: How turns of conversations become tokens.
        target: The file.
        out_type: Type of the matrices; ``auto`` takes bf16 if it loses nothing, else f32. With q8_0, matrices whose
            rows are not a multiple of 32 stay in f32.
        name: Name of the model in the file.

    Returns:
        The type of the matrices.

    Raises:
        CheckpointError: ``target`` exists or is not a ``.gguf``, or llama.cpp has no such tokenizer.
        ModRWKVError: The package ``gguf`` is not installed.
        WriteError: ``target`` cannot be written.
    """
    if target.exists():
        raise CheckpointError(f"{target} already exists", hint="remove it, or choose another name")
    if target.suffix != ".gguf":
        raise CheckpointError(f"{target} does not end in .gguf", hint=f"name the target {target.name}.gguf")
    gguf = _gguf()
    tokens = _vocabulary(tokenizer, tensors["emb.weight"].shape[0])
    if out_type == "auto":
        out_type = "bf16" if lossless_format(tensors.values()) == "bfloat16" else "f32"
    chosen = gguf.GGMLQuantizationType[out_type.upper()]
    writer = gguf.GGUFWriter(None, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.RWKV7])
    writer.add_name(name)
    _add_sizes(writer, sizes)
    file_type = "ALL_F32" if out_type == "f32" else f"MOSTLY_{chosen.name}"
    writer.add_file_type(gguf.LlamaFileType[file_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_vocabulary(writer, tokens, tokenizer.special)
    [turn_end] = template.closing(tokenizer)
    writer.add_eot_token_id(turn_end)
    writer.add_chat_template(_jinja(template))

    infos = {key: (tuple(tensor.shape), _type(key, tensor, chosen)) for key, tensor in _gguf_tensors(tensors)}
    for key, (shape, kind) in infos.items():
        block, nbytes = gguf.GGML_QUANT_SIZES[kind]
        writer.add_tensor_info(key, shape, np.dtype(np.float32), math.prod(shape) // block * nbytes, raw_dtype=kind)
    with atomic_write(target) as temporary:
        try:
            writer.write_header_to_file(temporary)
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for key, tensor in _gguf_tensors(tensors):  # one at a time: no second copy of the model is made
                writer.write_tensor_data(gguf.quantize(tensor.float().contiguous().numpy(), infos[key][1]))
        finally:
            writer.close()
    return out_type


def _gguf_tensors(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of an RWKV-7 by their names in llama.cpp, turned as it wants them.

    Args:
        tensors: By official names, with or without those of the first layer that nothing uses.
    """
    layers = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
    for ours, theirs in _TOP.items():
        yield theirs, tensors[ours].detach()
    for layer in range(layers):
        block = f"blocks.{layer}."
        shifts = [tensors[block + name].detach().reshape(1, 1, -1) for name in _SHIFTS]
        yield f"blk.{layer}.time_mix_lerp_fused.weight", torch.stack(shifts)
        for ours, theirs in _BLOCK.items():
            source = _FIRST_RESIDUAL.get(ours, ours) if layer == 0 else ours
            tensor = tensors[block + source].detach()
            yield f"blk.{layer}.{theirs}", _turned(ours, tensor)


def _turned(name: str, tensor: Tensor) -> Tensor:
    if name in _LOW_RANK:
        return tensor.mT
    return tensor if name.endswith((".weight", ".bias")) else tensor.reshape(-1)


def _type(name: str, tensor: Tensor, chosen: GGMLQuantizationType) -> GGMLQuantizationType:
    gguf = _gguf()
    is_small = tensor.dim() != 2 or re.search(r"time_mix_w[12]", name)
    is_divisible = tensor.shape[-1] % gguf.GGML_QUANT_SIZES[chosen][0] == 0
    return gguf.GGMLQuantizationType.F32 if is_small or not is_divisible else chosen


def _vocabulary(tokenizer: Tokenizer, size: int) -> list[bytes | None]:
    """Return the bytes of each of ``size`` token ids; None for ids that stand for no text, the turn markers included.

    Raises:
        CheckpointError: llama.cpp has no such tokenizer.
    """
    if type(tokenizer) not in (WorldTokenizer, BytesTokenizer):  # a subclass may split text otherwise
        raise CheckpointError(
            f"llama.cpp has no tokenizer {type(tokenizer).__name__}",
            hint="models with the tokenizers world and bytes can be exported to GGUF",
        )
    return [tokenizer.decode([index]) or None for index in range(size)]


def _add_sizes(writer: GGUFWriter, sizes: RWKV7Sizes) -> None:
    writer.add_context_length(_CONTEXT_LENGTH)
    writer.add_embedding_length(sizes.hidden_size)
    writer.add_block_count(sizes.num_layers)
    writer.add_feed_forward_length(sizes.intermediate_size)
    writer.add_head_count(0)  # required, and not used by this architecture
    writer.add_layer_norm_eps(1e-5)
    writer.add_wkv_head_size(sizes.head_dim)
    writer.add_decay_lora_rank(sizes.decay_low_rank_dim)
    writer.add_iclr_lora_rank(sizes.a_low_rank_dim)
    writer.add_value_residual_mix_lora_rank(sizes.v_low_rank_dim)
    writer.add_gate_lora_rank(sizes.gate_low_rank_dim)


def _add_vocabulary(writer: GGUFWriter, tokens: Sequence[bytes | None], special: SpecialIds) -> None:
    kinds = _gguf().TokenType
    # llama.cpp undoes the escapes of Python's bytes literals.
    texts = [repr(token)[2:-1] if token is not None else f"[PAD{index}]" for index, token in enumerate(tokens)]
    types = [kinds.UNUSED if token is None else kinds.NORMAL for token in tokens]
    # Control tokens are found in a prompt and do not show in an answer.
    for index, text in ((0, "<s>"), (special.turn_start, _TURN_START), (special.turn_end, _TURN_END)):
        texts[index], types[index] = text, kinds.CONTROL
    writer.add_tokenizer_model("rwkv")
    writer.add_token_list(texts)
    writer.add_token_types(types)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)


def _jinja(template: ChatTemplate) -> str:
    """Return a chat template in Jinja."""
    turn = _MARKED_TURN if template.markers else _PLAIN_TURN
    opening = f"{_TURN_START if template.markers else ''}Assistant:{' <think' if template.thinks else ''}"
    return (
        f"{{%- for message in messages -%}}{turn}{{%- endfor -%}}"
        f"{{%- if add_generation_prompt -%}}{{{{- '{opening}' -}}}}{{%- endif -%}}"
    )


def _gguf() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise ModRWKVError(
            f"GGUF files need the package gguf, which cannot be imported: {error}", hint="pip install 'modrwkv[gguf]'"
        ) from error
    return gguf
