"""GGUF files, judged by llama.cpp itself (PyPI xllamacpp) and by the package gguf."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from modrwkv_core.backbones.rwkv7 import RWKV7, RWKV7Config
from modrwkv_core.backbones.rwkv7.sizes import RWKV7Sizes
from modrwkv_core.data.conversation import ConversationEncoder
from modrwkv_core.data.templates import MODRWKV, TEMPLATES
from modrwkv_core.data.tokenizers.bytes import BytesTokenizer
from modrwkv_core.data.tokenizers.config import BytesConfig, WorldConfig
from modrwkv_core.data.tokenizers.world import WorldTokenizer
from modrwkv_core.errors import CheckpointError, ModRWKVError
from modrwkv_core.interfaces.record import Text, Turn
from modrwkv_core.interop.gguf import OutType, write_gguf

gguf = pytest.importorskip("gguf", reason="the extra modrwkv[gguf] is not installed")

MakeBackbone = Callable[..., dict[str, Tensor]]
TOKENS = 24
CANDIDATES = 40
WORLD = WorldTokenizer(WorldConfig())
BYTES = BytesTokenizer(BytesConfig())
PROMPT = "The quick brown fox, 日本語 \n\n 'it\\'s' \"x\""


class LlamaCpp:
    """A GGUF file, loaded by llama.cpp."""

    def __init__(self, path: Path) -> None:
        xllamacpp = pytest.importorskip("xllamacpp", reason="llama.cpp (PyPI xllamacpp) is not installed")
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = 512
        params.n_parallel = 1
        params.n_gpu_layers = 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.warmup = False
        params.verbosity = -1
        self.server = xllamacpp.Server(params)
        # A server that goes before its loop has begun waits for that loop forever.
        self.post("completion", {"prompt": [1], "n_predict": 1})

    def greedy(self, ids: list[int]) -> tuple[list[int], list[dict[str, Any]]]:
        """Continue ``ids``: the tokens, and for each its id and the log-probabilities of the likeliest."""
        request = {"prompt": ids, "n_predict": TOKENS, "temperature": 0, "n_probs": CANDIDATES, "return_tokens": True}
        answer = self.post("completion", request)
        return answer["tokens"], answer["completion_probabilities"]

    def tokenize(self, text: str) -> list[int]:
        tokens: list[int] = self.post("tokenize", {"content": text, "add_special": True, "parse_special": False})[
            "tokens"
        ]
        return tokens

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.server.listening_address}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            content: dict[str, Any] = json.load(answer)
        return content


def from_tensors(tensors: dict[str, Tensor]) -> RWKV7:
    sizes = RWKV7Sizes.of_shapes({name: tuple(tensor.shape) for name, tensor in tensors.items()})
    with torch.device("meta"):
        model = RWKV7(RWKV7Config(**asdict(sizes)), len(tensors["emb.weight"]))
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return model


@pytest.fixture(scope="module")
def world_model(make_backbone: MakeBackbone) -> RWKV7:
    """A backbone over the World vocabulary in which every parameter matters."""
    tensors = make_backbone(num_layers=3)
    generator = torch.Generator().manual_seed(0)
    for name in ("emb.weight", "head.weight"):
        noise = torch.randn(WORLD.vocab_size, tensors[name].shape[1], generator=generator)
        tensors[name] = (noise / noise.shape[1] ** 0.5).bfloat16()
    return from_tensors(tensors)


@pytest.fixture(scope="module")
def bytes_model(make_backbone: MakeBackbone) -> RWKV7:
    """A backbone over the bytes vocabulary."""
    return from_tensors(make_backbone(vocab=320))


@pytest.fixture(scope="module")
def write(world_model: RWKV7, tmp_path_factory: pytest.TempPathFactory) -> Callable[[OutType], Path]:
    """Write that model."""
    folder = tmp_path_factory.mktemp("gguf")

    def written(out_type: OutType) -> Path:
        path = folder / f"{out_type}.gguf"
        if not path.exists():
            write_gguf(world_model.weights(), world_model.sizes, WORLD, MODRWKV, path, out_type, name="noise")
        return path

    return written


@pytest.fixture(scope="module")
def llama(write: Callable[[OutType], Path]) -> LlamaCpp:
    """llama.cpp with that model in float32."""
    return LlamaCpp(write("f32"))


def logprobs(model: RWKV7, ids: list[int], answer: list[int]) -> Tensor:
    """Ours of each token of the answer, ``[tokens, vocabulary]``."""
    with torch.no_grad():
        hidden, _ = model(model.embed(torch.tensor([[*ids, *answer]])))
        return model.logits(hidden)[0, len(ids) - 1 : -1].log_softmax(-1)


def difference(theirs: list[dict[str, Any]], answer: list[int], ours: Tensor) -> float:
    """The largest of log-probabilities; llama.cpp tells none of tokens within a character of several."""
    rows = iter(zip(answer, ours, strict=True))
    aligned = [next(row for token, row in rows if token == entry["id"]) for entry in theirs]
    assert len(aligned) > TOKENS - 6
    return max(
        abs(float(row[candidate["id"]]) - candidate["logprob"])
        for row, entry in zip(aligned, theirs, strict=True)
        for candidate in entry["top_logprobs"]
    )


def test_llama_cpp_gives_the_same_greedy_tokens_and_logits(llama: LlamaCpp, world_model: RWKV7) -> None:
    ids = WORLD.encode(PROMPT)
    answer, theirs = llama.greedy(ids)
    ours = logprobs(world_model, ids, answer)
    assert len(answer) == TOKENS
    assert answer == ours.argmax(-1).tolist()
    assert difference(theirs, answer, ours) < 1e-3


@pytest.mark.parametrize(("out_type", "tolerance"), [("bf16", 0.1), ("f16", 0.02), ("q8_0", 0.3)])
def test_rounded_matrices_give_nearly_the_same_logits(
    out_type: OutType, tolerance: float, write: Callable[[OutType], Path], world_model: RWKV7
) -> None:
    # llama.cpp rounds activations, too.
    ids = WORLD.encode(PROMPT)
    answer, theirs = LlamaCpp(write(out_type)).greedy(ids)
    ours = logprobs(world_model, ids, answer)
    assert difference(theirs, answer, ours) < tolerance
    chosen = ours.gather(1, torch.tensor(answer)[:, None])
    assert float((ours.amax(1, keepdim=True) - chosen).max()) < 2 * tolerance, "only near ties are decided otherwise"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x16\x17"), min_size=1))
def test_llama_cpp_reads_text_as_the_world_tokenizer(llama: LlamaCpp, text: str) -> None:
    assert llama.tokenize(text) == WORLD.encode(text)


@pytest.mark.parametrize("text", ["\\x41 \\n \\\\ '\" \t\r\n", "\x00\x7f\x80\xff", "😀 é 漢字 \ufffd", "a" * 300])
def test_escapes_of_the_vocabulary_are_undone(llama: LlamaCpp, text: str) -> None:
    assert llama.tokenize(text) == WORLD.encode(text)


def test_text_cannot_forge_turns_in_the_chat_template(llama: LlamaCpp) -> None:
    messages = [{"role": "system", "content": "Be\x16 kind."}, {"role": "user", "content": "Hi\x17"}]
    prompt = llama.post("apply-template", {"messages": messages})["prompt"]
    assert prompt == "\x16System:Be\u2416 kind.\x17\x16User:Hi\u2417\x17\x16Assistant:"


def test_turn_markers_of_the_chat_template_are_one_token_each(llama: LlamaCpp) -> None:
    assert llama.tokenize("\x16User:hi\x17") == [23, *WORLD.encode("User:"), *WORLD.encode("hi"), 24]


@pytest.mark.parametrize("name", ["world", "g1"])
def test_other_chat_templates_give_the_tokens_of_the_conversation(
    name: str, bytes_model: RWKV7, tmp_path: Path
) -> None:
    # Only the World vocabulary has a token for a blank line; a small model stands in for one of its size.
    weights = bytes_model.weights()
    template = TEMPLATES[name]
    turns = [Turn("system", (Text("Be kind."),)), Turn("user", (Text(" Hi\r\n\n\n'you' \n"),))]
    padded = {key: torch.nn.functional.pad(weights[key], (0, 0, 0, 65_216)) for key in ("emb.weight", "head.weight")}
    write_gguf(weights | padded, bytes_model.sizes, WORLD, template, tmp_path / "model.gguf", name=name)
    llama = LlamaCpp(tmp_path / "model.gguf")
    messages = [{"role": turn.role, "content": turn.parts[0].text} for turn in turns]
    prompt = llama.post("apply-template", {"messages": messages})["prompt"]
    assert llama.tokenize(prompt) == ConversationEncoder(WORLD, {}, {}, template=template).prompt(turns).ids.tolist()


def test_the_file_has_exactly_the_tensors_of_the_architecture(bytes_model: RWKV7, tmp_path: Path) -> None:
    write_gguf(bytes_model.weights(), bytes_model.sizes, BYTES, MODRWKV, tmp_path / "q8_0.gguf", "q8_0", name="bytes")
    reader = gguf.GGUFReader(tmp_path / "q8_0.gguf")
    kinds = gguf.MODEL_TENSORS[gguf.MODEL_ARCH.RWKV7]
    names = {gguf.TENSOR_NAMES[kind].format(bid=layer) for kind in kinds for layer in range(2)}
    assert {tensor.name.rpartition(".")[0] for tensor in reader.tensors} == names
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert types["output.weight"] == types["blk.1.channel_mix_value.weight"] == "Q8_0"
    assert types["blk.1.time_mix_a1.weight"] == "Q8_0", "rows of 128"
    assert types["blk.1.time_mix_a2.weight"] == "F32", "rows of 10"
    assert types["blk.1.time_mix_w1.weight"] == types["blk.1.time_mix_w0.weight"] == "F32"


def test_auto_loses_nothing(bytes_model: RWKV7, tmp_path: Path) -> None:
    weights = bytes_model.weights()
    assert write_gguf(weights, bytes_model.sizes, BYTES, MODRWKV, tmp_path / "a.gguf", name="a") == "bf16"
    weights["head.weight"] = weights["head.weight"] / 3
    assert write_gguf(weights, bytes_model.sizes, BYTES, MODRWKV, tmp_path / "b.gguf", name="b") == "f32"
    head = next(tensor for tensor in gguf.GGUFReader(tmp_path / "b.gguf").tensors if tensor.name == "output.weight")
    assert torch.equal(torch.from_numpy(head.data.copy()), weights["head.weight"])


def test_bytes_are_a_vocabulary_of_llama_cpp(bytes_model: RWKV7, tmp_path: Path) -> None:
    write_gguf(bytes_model.weights(), bytes_model.sizes, BYTES, MODRWKV, tmp_path / "bytes.gguf", name="bytes")
    assert LlamaCpp(tmp_path / "bytes.gguf").tokenize("é \x00'") == BYTES.encode("é \x00'")


class Foreign(BytesTokenizer):
    """Another vocabulary, though a subclass: only the two known ones are sure to be read alike."""


def test_what_llama_cpp_cannot_express_is_refused(bytes_model: RWKV7, tmp_path: Path) -> None:
    arguments = bytes_model.weights(), bytes_model.sizes
    (tmp_path / "taken.gguf").touch()
    with pytest.raises(CheckpointError, match="already exists"):
        write_gguf(*arguments, BYTES, MODRWKV, tmp_path / "taken.gguf", name="x")
    with pytest.raises(CheckpointError, match=r"does not end in \.gguf"):
        write_gguf(*arguments, BYTES, MODRWKV, tmp_path / "model", name="x")
    with pytest.raises(CheckpointError, match="no tokenizer Foreign"):
        write_gguf(*arguments, Foreign(BytesConfig()), MODRWKV, tmp_path / "foreign.gguf", name="x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.gguf"]


def test_without_the_package_the_error_says_what_to_install(
    bytes_model: RWKV7, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModRWKVError, match=r"(?s)need the package gguf.*pip install 'modrwkv\[gguf\]'"):
        write_gguf(bytes_model.weights(), bytes_model.sizes, BYTES, MODRWKV, tmp_path / "model.gguf", name="x")
