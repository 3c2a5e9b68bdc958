from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_kernels import CuSeqlens
from modrwkv_transformer.attention import attention, causal_mask
from modrwkv_transformer.config import TransformerConfig
from modrwkv_transformer.model import Transformer
from modrwkv_transformer.state import KeyValueState
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from modrwkv_core.errors import CheckpointError, ComponentError
from modrwkv_core.testing import BackboneContract
from modrwkv_core.testing.fakes import FakeState

SIZES = {
    "hidden_size": 24,
    "num_layers": 2,
    "num_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "intermediate_size": 40,
}
VOCAB = 64
UPSTREAM: dict[str, tuple[Any, Any]] = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def scratch(**values: Any) -> TransformerConfig:
    return TransformerConfig(init="scratch", **(SIZES | values))


class TestTransformer(BackboneContract):
    plugin = "modrwkv_transformer.plugin"
    name = "transformer"
    vocab_size = VOCAB
    configs = (
        {"init": "scratch", **SIZES, "architecture": "llama", "tie_embeddings": False},
        {"init": "scratch", **SIZES, "architecture": "qwen2"},
        {"init": "scratch", **SIZES, "architecture": "qwen3", "head_dim": 10, "num_heads": 4, "num_key_value_heads": 2},
    )


def upstream(architecture: str, folder: Path, **changes: Any) -> Any:
    """Save and return a model of the library whose every parameter matters."""
    make_config, make_model = UPSTREAM[architecture]
    torch.manual_seed(3)
    values: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "intermediate_size": 40,
        "rms_norm_eps": 1e-5,
        "pad_token_id": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
    }
    model = make_model(make_config(**(values | changes))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def loaded(folder: Path | str) -> Transformer:
    config = TransformerConfig(checkpoint=str(folder))
    assert config.vocab is not None
    backbone = Transformer(config, config.vocab).eval()
    backbone.load_pretrained()
    return backbone


def ids(batch_size: int, tokens: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCAB, (batch_size, tokens), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("architecture", UPSTREAM)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("rope", [{"rope_type": "default"}, LLAMA3, {"rope_type": "linear", "factor": 2.0}])
@torch.no_grad()
def test_logits_are_those_of_the_library(architecture: str, tied: bool, rope: dict[str, Any], tmp_path: Path) -> None:
    model = upstream(architecture, tmp_path, tie_word_embeddings=tied, rope_parameters={"rope_theta": 5000.0, **rope})
    backbone = loaded(tmp_path)
    tokens = ids(2, 40)
    expected = model(input_ids=tokens).logits
    hidden, state = backbone(backbone.embed(tokens[:, :30]))
    rest, _ = backbone(backbone.embed(tokens[:, 30:]), state=state)
    actual = backbone.logits(torch.cat([hidden, rest], dim=1))
    assert torch.linalg.norm(actual - expected) <= 1e-5 * torch.linalg.norm(expected)
    packed, _ = backbone(backbone.embed(tokens.reshape(1, -1)), cu_seqlens=CuSeqlens.of([0, 40, 80]))
    assert torch.linalg.norm(backbone.logits(packed).view_as(expected) - expected) <= 1e-5 * torch.linalg.norm(expected)


@torch.no_grad()
def test_greedy_decoding_of_uneven_prompts_is_that_of_the_library(tmp_path: Path) -> None:
    model = upstream("llama", tmp_path)
    backbone = loaded(tmp_path)
    prompts = [ids(1, length, seed=length) for length in (1, 7, 4)]
    expected = [model.generate(prompt, max_new_tokens=9, do_sample=False, eos_token_id=None) for prompt in prompts]
    lengths = [0, 1, 8, 12]
    hidden, state = backbone.prefill(backbone.embed(torch.cat(prompts, dim=1)), cu_seqlens=CuSeqlens.of(lengths))
    decoding = backbone.decoder().start(state)
    logits, drawn = backbone.logits(hidden), []
    for _ in range(9):
        drawn.append(logits.argmax(-1))
        logits = decoding.step(drawn[-1])
    for prompt, answer, whole in zip(prompts, torch.stack(drawn, dim=1), expected, strict=True):
        assert whole[0, prompt.shape[1] :].tolist() == answer.tolist()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.lists(st.integers(0, 6), min_size=4, max_size=4))
@torch.no_grad()
def test_states_of_uneven_sequences_continue_as_the_sequences_alone(fresh: list[int], read: list[int]) -> None:
    torch.manual_seed(0)
    backbone = Transformer(scratch(), VOCAB).eval()
    texts = [backbone.embed(ids(1, before + after, seed=after)) for before, after in zip(read, fresh, strict=False)]
    alone = [backbone(text)[0] for text in texts]
    states = [
        backbone(text[:, :before])[1] if before else backbone.init_state(1)
        for text, before in zip(texts, read, strict=False)
    ]
    state = KeyValueState.stack(states)
    assert state.lengths == read[: len(texts)]
    new = torch.cat([text[:, before:] for text, before in zip(texts, read, strict=False)], dim=1)
    bounds = CuSeqlens.of([0, *torch.tensor(fresh).cumsum(0).tolist()])
    hidden, after = backbone(new, state=state, cu_seqlens=bounds)
    expected = torch.cat([whole[:, before:] for whole, before in zip(alone, read, strict=False)], dim=1)
    assert torch.allclose(hidden, expected, rtol=0, atol=1e-5)
    step = backbone.embed(ids(len(texts), 1))
    together, _ = backbone(step, state=after)
    for index, text in enumerate(texts):
        one, _ = backbone(torch.cat([text, step[index : index + 1]], dim=1))
        assert torch.allclose(together[index, -1], one[0, -1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("new", "earlier"), [(1, 0), (1, 6), (5, 0), (5, 6)])
def test_without_a_mask_new_tokens_end_where_the_earlier_ones_do(new: int, earlier: int) -> None:
    torch.manual_seed(0)
    query = torch.randn(2, 4, new, 8)
    key, value = (torch.randn(2, 2, earlier + new, 8) for _ in range(2))
    found, _ = attention(torch.nn.Identity(), query, key, value, None, scaling=0.3)
    scores = 0.3 * query @ key.repeat_interleave(2, dim=1).mT
    later = torch.ones(new, earlier + new).triu(earlier + 1).bool()
    expected = scores.masked_fill(later, float("-inf")).softmax(-1) @ value.repeat_interleave(2, dim=1)
    torch.testing.assert_close(found, expected.transpose(1, 2))


def test_a_gpu_needs_a_mask_only_where_sequences_differ_in_length() -> None:
    assert causal_mask([6, 6], 5, torch.device("cuda")) is None
    mask = causal_mask([6, 6], 5, torch.device("cpu"))
    assert mask is not None
    assert torch.equal(mask[0, 0], torch.ones(5, 11).tril(6).bool())


def test_older_files_say_rotary_positions_in_their_own_way(tmp_path: Path) -> None:
    model = upstream("llama", tmp_path, rope_parameters={"rope_theta": 5000.0, **LLAMA3})
    content = json.loads((tmp_path / "config.json").read_text())
    del content["rope_parameters"]
    old = {"rope_theta": 5000.0, "rope_scaling": {"type" if k == "rope_type" else k: v for k, v in LLAMA3.items()}}
    (tmp_path / "config.json").write_text(json.dumps(content | old | {"head_dim": None}))
    tokens = ids(1, 30)
    with torch.no_grad():
        backbone = loaded(tmp_path)
        actual = backbone.logits(backbone(backbone.embed(tokens))[0])
        assert torch.allclose(actual, model(input_ids=tokens).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Qwen/Qwen2.5-0.5B", 494_032_768),
        ("Qwen/Qwen2.5-1.5B", 1_543_714_304),
        ("Qwen/Qwen3-0.6B", 596_049_920),
        ("HuggingFaceTB/SmolLM2-360M", 361_821_120),
    ],
)
def test_published_sizes_are_known_offline(name: str, parameters: int) -> None:
    config = TransformerConfig(checkpoint=name)
    assert config.fixed_vocab_size is not None
    with torch.device("meta"):
        backbone = Transformer(config, config.fixed_vocab_size)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == parameters
    assert len(backbone.shardable_blocks()) == config.num_layers


def test_from_scratch_the_tokenizer_decides_the_rows_of_the_embedding() -> None:
    assert TransformerConfig(init="scratch").fixed_vocab_size is None
    assert scratch(vocab=100).fixed_vocab_size == 100
    with pytest.raises(ComponentError, match="has 100 rows, but 64 are asked for"):
        Transformer(scratch(vocab=100), VOCAB)


def test_a_run_needs_the_checkpoint_no_more(tmp_path: Path) -> None:
    upstream("qwen3", tmp_path)
    config = TransformerConfig(checkpoint=str(tmp_path))
    for file in tmp_path.iterdir():
        file.unlink()
    assert TransformerConfig.model_validate(config.model_dump(mode="json")) == config == config.resolved()


def test_tensors_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    upstream("llama", tmp_path)
    whole = load_file(tmp_path / "model.safetensors")
    damages = {
        r"1 missing: model\.norm\.weight": {key: value for key, value in whole.items() if key != "model.norm.weight"},
        r"model\.norm\.weight \[23\] instead of \[24\]": whole | {"model.norm.weight": torch.zeros(23)},
        "1 unexpected: extra": whole | {"extra": torch.zeros(1)},
    }
    for message, tensors in damages.items():
        save_file(tensors, tmp_path / "model.safetensors")
        with pytest.raises(CheckpointError, match=message):
            loaded(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2', not 'llama' or 'qwen2' or 'qwen3'"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu', but this component computes 'silu' only"),
        ({"use_sliding_window": True}, "use_sliding_window = True"),
        ({"attention_bias": True}, "attention_bias = True"),
        ({"num_attention_heads": "3"}, "num_attention_heads = '3': Input should be a valid integer"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope_type 'yarn', not one of default, linear"),
    ],
)
def test_checkpoints_of_another_kind_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    upstream("llama", tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | changes))
    with pytest.raises(ValidationError, match=message):
        TransformerConfig(checkpoint=str(tmp_path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either a checkpoint or init: scratch"),
        ({"init": "scratch", "num_heads": 4, "num_key_value_heads": 3}, "3 key-value heads do not divide the 4 heads"),
        ({"init": "scratch", "architecture": "llama", "num_heads": 5, "num_key_value_heads": 5}, "5 heads do not"),
        ({"init": "scratch", "head_dim": 7}, "multiple of 2"),
        ({"init": "scratch", "width": 7}, "Extra inputs"),
    ],
)
def test_configurations_that_cannot_work_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TransformerConfig(**values)


@torch.no_grad()
def test_late_positions_stay_exact_in_16_bits() -> None:
    torch.manual_seed(0)
    backbone = Transformer(scratch(), VOCAB).eval()
    positions = torch.arange(5000)[None]
    expected = backbone.model.rotary_emb(torch.zeros(1), positions)[0]
    actual = backbone.bfloat16().model.rotary_emb(torch.zeros(1), positions)[0]
    assert torch.equal(actual, expected)


def test_arguments_that_do_not_fit_are_refused() -> None:
    backbone = Transformer(scratch(), VOCAB)
    x = torch.zeros(1, 4, 24)
    for inputs, message in (
        ({"x": torch.zeros(1, 0, 24)}, "at least one token"),
        ({"x": torch.zeros(1, 4, 23)}, r"\[batch, tokens, 24\]"),
        ({"x": x, "cu_seqlens": CuSeqlens.of([0, 3])}, "do not fit an input"),
        ({"x": x, "cu_seqlens": CuSeqlens.of([0, 0, 4])}, "do not fit an input"),
        ({"x": x, "state": backbone.init_state(2)}, r"\[2, 1, 1, 8\], but is \[2, 2, 1, 8\]"),
        ({"x": x, "state": FakeState(torch.zeros(1, 8))}, "but is FakeState"),
    ):
        with pytest.raises(ComponentError, match=message):
            backbone(**inputs)


def test_files_of_other_states_are_refused(tmp_path: Path) -> None:
    save_file({"0.keys": torch.zeros(1)}, tmp_path / "other")
    with pytest.raises(CheckpointError, match="is not a key-value cache"):
        KeyValueState.load(tmp_path / "other")
    save_file({"0.keys": torch.zeros(1)}, tmp_path / "half", metadata={"content": "key-value cache"})
    with pytest.raises(CheckpointError, match=r"not those of a key-value cache: it holds 0\.keys"):
        KeyValueState.load(tmp_path / "half")
    save_file(
        {"0.keys": torch.zeros(1), "0.values": torch.zeros(2)},
        tmp_path / "uneven",
        metadata={"content": "key-value cache"},
    )
    with pytest.raises(CheckpointError, match="do not fit each other"):
        KeyValueState.load(tmp_path / "uneven")
