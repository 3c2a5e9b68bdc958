"""Checkpoints in CTranslate2's layout: written here as its converter writes them, and read by the encoder."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from modrwkv_whisper.config import WhisperConfig
from modrwkv_whisper.ctranslate2 import CTranslate2File
from modrwkv_whisper.encoder import WhisperEncoder
from modrwkv_whisper.processor import WhisperProcessor
from numpy.typing import NDArray
from pydantic import ValidationError
from transformers import WhisperFeatureExtractor, WhisperModel

from modrwkv_core.errors import CheckpointError
from modrwkv_core.interfaces.signals import Waveform

SIZES: dict[str, Any] = {
    "mel_bins": 20,
    "window": 25,
    "hidden_size": 24,
    "num_layers": 2,
    "num_heads": 3,
    "intermediate_size": 40,
}
DTYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
Variables = dict[str, NDArray[Any]]


def upstream_model() -> WhisperModel:
    torch.manual_seed(1)
    model = WhisperModel(
        transformers.WhisperConfig(
            num_mel_bins=20,
            max_source_positions=25,
            d_model=24,
            encoder_layers=2,
            encoder_attention_heads=3,
            encoder_ffn_dim=40,
            decoder_layers=1,
            decoder_attention_heads=3,
            decoder_ffn_dim=16,
            vocab_size=30,
            max_target_positions=10,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=3,
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def variables_of(model: WhisperModel) -> Variables:
    """Return a model's variables as CTranslate2's converter names and joins them, sorted by name."""
    encoder, decoder = model.get_encoder(), model.get_decoder()
    found: Variables = {
        "encoder/num_heads": np.int16(3),  # type: ignore[dict-item]
        "encoder/position_encodings/encodings": as_array(encoder.embed_positions.weight),
        "decoder/num_heads": np.int16(3),  # type: ignore[dict-item]
        "decoder/pre_norm": np.int8(1),  # type: ignore[dict-item]
        "decoder/embeddings/weight": as_array(decoder.embed_tokens.weight),
    }

    def put(name: str, module: Any, weight: str, bias: str) -> None:
        found.update({f"{name}/{weight}": as_array(module.weight), f"{name}/{bias}": as_array(module.bias)})

    put("encoder/conv1", encoder.conv1, "weight", "bias")
    put("encoder/conv2", encoder.conv2, "weight", "bias")
    put("encoder/layer_norm", encoder.layer_norm, "gamma", "beta")
    for index, layer in enumerate(encoder.layers):
        name, attention = f"encoder/layer_{index}", layer.self_attn
        put(f"{name}/self_attention/layer_norm", layer.self_attn_layer_norm, "gamma", "beta")
        put(f"{name}/self_attention/linear_1", attention.out_proj, "weight", "bias")
        put(f"{name}/ffn/layer_norm", layer.final_layer_norm, "gamma", "beta")
        put(f"{name}/ffn/linear_0", layer.fc1, "weight", "bias")
        put(f"{name}/ffn/linear_1", layer.fc2, "weight", "bias")
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        biases = [torch.zeros(24) if each.bias is None else each.bias for each in projections]
        found[f"{name}/self_attention/linear_0/weight"] = as_array(torch.cat([each.weight for each in projections]))
        found[f"{name}/self_attention/linear_0/bias"] = as_array(torch.cat(biases))
    return dict(sorted(found.items()))


def as_array(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor.detach().numpy().astype(np.float32)


def quantized(variables: Variables, dtype: str) -> Variables:
    """Quantize weights as CTranslate2 does: int8 by rows, int16 as a whole; float16 takes everything along."""
    found: Variables = {}
    for name, values in variables.items():
        found[name] = values
        if values.ndim == 0:
            continue
        if dtype == "float16":
            found[name] = values.astype(np.float16)
        elif not name.endswith("/weight"):
            continue
        elif dtype == "int8":
            rows = values.reshape(len(values), -1)
            scale = np.float32(127) / np.abs(rows).max(axis=1)
            found[name] = np.rint(rows * scale[:, None]).astype(np.int8).reshape(values.shape)
            found[f"{name}_scale"] = scale
        else:
            scale = np.float32(2**10 / np.abs(values).max())
            found[name] = np.rint(values * scale).astype(np.int16)
            found[f"{name}_scale"] = np.asarray(scale)
    return found


def text(name: str) -> bytes:
    return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"


def file_content(
    variables: Mapping[str, NDArray[Any]],
    aliases: Mapping[str, str] | None = None,
    specification: tuple[str, int] = ("WhisperSpec", 3),
) -> bytes:
    content = struct.pack("<I", 6) + text(specification[0]) + struct.pack("<II", specification[1], len(variables))
    for name, values in variables.items():
        content += text(name) + struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        content += struct.pack("<BI", DTYPES.index(values.dtype.name), values.nbytes) + values.tobytes()
    aliases = aliases or {}
    return content + struct.pack("<I", len(aliases)) + b"".join(text(alias) + text(aliases[alias]) for alias in aliases)


def write(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(content)
    (folder / "config.json").write_text(json.dumps({"alignment_heads": [[0, 0]], "suppress_ids": []}))
    return folder


def loaded(reference: Path) -> WhisperEncoder:
    encoder = WhisperEncoder(WhisperConfig(checkpoint=str(reference))).eval()
    encoder.load_pretrained()
    return encoder


def recording(samples: int) -> Waveform:
    return Waveform(np.random.default_rng(samples).normal(0.1, 0.3, samples).astype(np.float32), 16_000)


@pytest.fixture(scope="module")
def model() -> WhisperModel:
    return upstream_model()


@pytest.fixture(scope="module")
def variables(model: WhisperModel) -> Variables:
    return variables_of(model)


def test_features_equal_those_of_transformers(tmp_path: Path, model: WhisperModel, variables: Variables) -> None:
    folder = write(tmp_path, file_content(variables))
    encoder = loaded(folder)
    assert {name: getattr(encoder.config, name) for name in SIZES} == SIZES
    assert encoder.pretrained_files() == (folder / "model.bin",)
    signal = recording(8000)
    mel = WhisperFeatureExtractor(feature_size=20)(
        signal.samples, sampling_rate=16_000, max_length=8000, return_tensors="pt"
    ).input_features
    with torch.no_grad():
        expected = model.get_encoder()(mel).last_hidden_state
        features = encoder([WhisperProcessor(encoder.config)(signal)]).values
    assert torch.linalg.norm(features - expected) <= 1e-5 * torch.linalg.norm(expected)


def test_tensors_are_those_of_transformers_to_the_last_bit(
    tmp_path: Path, model: WhisperModel, variables: Variables
) -> None:
    expected = model.get_encoder().state_dict()
    found = loaded(write(tmp_path, file_content(variables)) / "model.bin").model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("dtype", ["float16", "int8", "int16"])
def test_smaller_dtypes_lose_what_their_rounding_loses(
    tmp_path: Path, model: WhisperModel, variables: Variables, dtype: str
) -> None:
    smaller = quantized(variables, dtype)
    assert smaller["encoder/conv1/weight"].dtype == dtype
    found = loaded(write(tmp_path, file_content(smaller))).model.state_dict()
    for name, expected in model.get_encoder().state_dict().items():
        if dtype == "float16":
            assert torch.equal(found[name], expected.half().float())
        elif not name.endswith("weight") or "norm" in name or name == "embed_positions.weight":
            assert torch.equal(found[name], expected)
        else:
            rows = expected.abs().flatten(1)
            # Half of what one integer stands for; the joined projections share the scale of an int16 weight.
            bound = rows.amax(1) / 127 if dtype == "int8" else torch.tensor(2.0 / 2**10)
            excess = (found[name] - expected).abs().flatten(1).amax(1) - 0.5 * bound
            assert excess.max() <= 1e-6
            assert not torch.equal(found[name], expected)


def test_aliases_are_followed_with_their_scales(tmp_path: Path, variables: Variables) -> None:
    """The converter writes only the first of several variables that are equal."""
    name, twin = (f"encoder/layer_{layer}/ffn/linear_0/weight" for layer in (0, 1))
    smaller = quantized(variables, "int8")
    fewer = {key: value for key, value in smaller.items() if key not in (twin, f"{twin}_scale")}
    encoder = loaded(write(tmp_path, file_content(fewer, {twin: name})))
    first, second = (layer.fc1.weight for layer in encoder.model.layers)
    assert torch.equal(first, second)


def test_a_run_needs_the_checkpoint_no_more(tmp_path: Path, variables: Variables) -> None:
    config = WhisperConfig(checkpoint=str(write(tmp_path, file_content(variables))))
    for file in tmp_path.iterdir():
        file.unlink()
    assert WhisperConfig.model_validate(config.model_dump(mode="json")) == config


def test_the_directory_is_read_without_torch(tmp_path: Path, variables: Variables) -> None:
    folder = write(tmp_path, file_content(variables))
    program = (
        "import sys; from modrwkv_whisper.config import WhisperConfig; "
        "from modrwkv_whisper.ctranslate2 import CTranslate2File; "
        f"print(len(CTranslate2File(__import__('pathlib').Path({str(folder / 'model.bin')!r})).variables)); "
        "assert 'torch' not in sys.modules"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(shown) == len(variables)


BIAS = "encoder/layer_1/ffn/linear_0/bias"
JOINED = "encoder/layer_0/self_attention/linear_0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({BIAS: None}, rf"model\.bin cannot be used: there is no {BIAS}"),
        ({BIAS: np.zeros(39, np.float32)}, r"layers\.1\.fc1\.bias \[39\] instead of \[40\]"),
        ({"encoder/extra": np.zeros(1, np.float32)}, "1 unexpected tensors, such as encoder/extra"),
        ({"classifier/weight": np.zeros(1, np.float32)}, "such as classifier/weight"),
        ({f"{JOINED}/bias": np.ones(72, np.float32)}, f"{JOINED}/bias holds a bias of the keys"),
        (
            {f"{JOINED}/weight": np.ones((48, 24), np.float32)},
            rf"{JOINED}/weight is \[48, 24\], not square queries, keys",
        ),
        ({"encoder/conv2/weight": np.ones((24, 24, 3), np.int8)}, "there is no encoder/conv2/weight_scale"),
        (
            {
                "encoder/conv2/weight": np.ones((24, 24, 3), np.int8),
                "encoder/conv2/weight_scale": np.ones(23, np.float32),
            },
            r"conv2/weight_scale is torch\.float32 \[23\] instead of float32 \[24\]",
        ),
        (
            {
                "encoder/conv2/weight": np.ones((24, 24, 3), np.int8),
                "encoder/conv2/weight_scale": np.zeros(24, np.float32),
            },
            "scale that is not positive",
        ),
    ],
)
def test_missing_misshapen_and_unknown_tensors_are_refused_by_name(
    tmp_path: Path, variables: Variables, changes: dict[str, NDArray[Any] | None], message: str
) -> None:
    changed = {name: value for name, value in (variables | changes).items() if value is not None}
    encoder = WhisperEncoder(WhisperConfig(checkpoint=str(write(tmp_path, file_content(changed)))))
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        encoder.load_pretrained()
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder/num_heads": np.int16(5)}, "num_heads 5 does not divide the hidden_size 24"),
        ({"encoder/num_heads": np.int16(0)}, "greater than 0"),
        ({"encoder/num_heads": None}, "encoder/num_heads is missing"),
        ({"encoder/conv1/weight": None}, "encoder/conv1/weight is missing"),
        ({"encoder/conv1/weight": np.zeros(3, np.float32)}, r"conv1/weight has shape \[3\], not 3 dimensions"),
    ],
)
def test_sizes_that_cannot_be_are_refused(
    tmp_path: Path, variables: Variables, changes: dict[str, Any], message: str
) -> None:
    changed = {name: value for name, value in (variables | changes).items() if value is not None}
    with pytest.raises(ValidationError, match=message):
        WhisperConfig(checkpoint=str(write(tmp_path, file_content(changed))))


HUGE = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, 1) + text("encoder/conv1/weight")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it ends at byte 0, inside the version"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
        (b"PK\x03\x04" + bytes(100), "not a CTranslate2 file of version 4 to 6: its version is 67324752"),
        (struct.pack("<I", 3) + text("WhisperSpec") + bytes(12), "its version is 3"),
        (HUGE + struct.pack("<B3I", 3, *[2**32 - 1] * 3) + struct.pack("<BI", 0, 2**32 - 4), "which is not float32"),
        (HUGE + struct.pack("<BIBI", 1, 2**29, 0, 2**31), "it ends inside encoder/conv1/weight, 2147483648 bytes"),
        (HUGE + struct.pack("<BIBI", 1, 0, 0, 0), r"not float32 of shape \[0\]"),
        (HUGE + struct.pack("<BIBI", 1, 1, 9, 4) + bytes(4), "has dtype 9, which is unknown"),
        (HUGE[:-4] + b"\xff\xff\xff\0", "the name of variable 0 is not text"),
        (file_content({"a": np.zeros(1, np.float32)}, {"b": "c"}), "b is an alias of c, which does not exist"),
        (file_content({"a": np.zeros(1, np.float32)}, {"a": "a"}), "it holds a twice"),
        (file_content({"a": np.zeros(1, np.float32)}) + b"\0", "1 bytes follow the last alias"),
        (file_content({}, specification=("TransformerSpec", 7)), "a TransformerSpec of revision 7, not a WhisperSpec"),
        (file_content({}, specification=("WhisperSpec", 1)), "a WhisperSpec of revision 1"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        WhisperConfig(checkpoint=str(write(tmp_path, content)))
    assert "model.bin" in str(caught.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, variables: Variables) -> tuple[Path, bytes]:
    content = file_content(variables, {"decoder/projection/weight": "decoder/embeddings/weight"})
    return tmp_path_factory.mktemp("whole"), content


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_shortened_file_is_read(whole: tuple[Path, bytes], data: st.DataObject) -> None:
    folder, content = whole
    path = folder / "short.bin"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CheckpointError, match=r"short\.bin"):
        CTranslate2File(path)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1500), st.binary(min_size=1, max_size=6))
def test_damage_raises_nothing_but_a_checkpoint_error(whole: tuple[Path, bytes], place: int, bytes_: bytes) -> None:
    folder, content = whole
    path = write(folder, content[:place] + bytes_ + content[place + len(bytes_) :])
    reason = refusal(path)
    assert reason is None or "model.bin" in reason


def refusal(folder: Path) -> str | None:
    try:
        WhisperEncoder(WhisperConfig(checkpoint=str(folder))).load_pretrained()
    except (ValidationError, CheckpointError) as error:
        return str(error)
    return None


def test_a_missing_weight_file_is_told(tmp_path: Path, variables: Variables) -> None:
    folder = write(tmp_path, file_content(variables))
    config = WhisperConfig(checkpoint=str(folder))
    (folder / "model.bin").unlink()
    with pytest.raises(CheckpointError, match="has no weights"):
        WhisperEncoder(config).load_pretrained()
    with pytest.raises(ValidationError, match="has model_type None, not 'whisper'"):
        WhisperConfig(checkpoint=str(folder))
