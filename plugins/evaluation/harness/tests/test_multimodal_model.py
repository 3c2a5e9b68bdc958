"""The model of lmms-eval against a session of its own; needs the harness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip(
    "lmms_eval", reason="lmms-eval is not installed here; test_lmms_eval_command.py runs these tests with it"
)

import datasets
import PIL.Image
import soundfile
from lmms_eval.api.instance import Instance
from modrwkv_eval.media import Documents, part_of, parts_of_visuals
from modrwkv_eval.multimodal_model import ModRWKVChat, ModRWKVSimple
from modrwkv_eval.registration import lmms_eval_manifest

import modrwkv_core
from modrwkv_core.errors import DataError, ModRWKVError
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.record import Media, Text, Turn

COLORS = ("red", "green", "blue")
DOCUMENTS = [{"image": PIL.Image.new("RGB", (16, 16), color), "question": "Which color?"} for color in COLORS]


@pytest.fixture(scope="module")
def run(train_seeing_run: Callable[..., Path]) -> Path:
    return train_seeing_run()


@pytest.fixture(scope="module")
def session(run: Path) -> Session:
    return modrwkv_core.load(run, device="cpu")


def turn(document: dict[str, Any]) -> tuple[Turn]:
    return (Turn("user", (Media("image", document["image"]), Text(document["question"]))),)


def visuals(document: dict[str, Any]) -> list[Any]:
    return [document["image"]]


def instances(kind: str, arguments: Sequence[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, one, 0, {"task": "colors", "doc_id": 0, "repeats": 1}) for one in arguments]


def test_the_harness_finds_the_classes() -> None:
    from lmms_eval.models import get_model, get_model_manifest

    assert get_model_manifest("modrwkv") == lmms_eval_manifest()
    assert get_model("modrwkv") is ModRWKVChat
    assert get_model("modrwkv", force_simple=True) is ModRWKVSimple


@pytest.mark.parametrize("batch_size", [1, 2])
def test_conversations_are_answered(run: Path, session: Session, batch_size: int) -> None:
    def messages(document: dict[str, Any]) -> list[dict[str, Any]]:
        shown = {"type": "image", "url": document["image"]}
        return [{"role": "user", "content": [shown, {"type": "text", "text": document["question"]}]}]

    model = ModRWKVChat(str(run), device="cpu", batch_size=batch_size)
    model.task_dict["colors"] = {"test": DOCUMENTS}
    arguments = {"max_new_tokens": 6, "until": ["d"]}
    asked = instances("generate_until", [("", messages, arguments, at, "colors", "test") for at in range(3)])
    found = model.generate_until(asked)
    whole = [session.answer([turn(document)], 6)[0] for document in DOCUMENTS]
    assert any(whole)
    assert [one.text for one in found] == [answer.partition("d")[0] for answer in whole]
    prompt = session.conversations.prompt(turn(DOCUMENTS[0])).ids
    assert {one.token_counts.input_tokens for one in found} == {len(prompt)}
    # The prompt beside its image is the same conversation.
    simple = ModRWKVSimple(str(run), device="cpu", batch_size=batch_size)
    simple.task_dict = model.task_dict
    asked = instances("generate_until", [("Which color?", arguments, visuals, at, "colors", "test") for at in range(3)])
    assert simple.generate_until(asked) == found


def test_the_system_speaks_first(run: Path, session: Session, tmp_path: Path) -> None:
    (tmp_path / "system.txt").write_text("Be brief.\n")
    model = ModRWKVSimple(str(run), device="cpu", system_prompt=str(tmp_path / "system.txt"), max_new_tokens=5)
    model.task_dict["colors"] = {"test": DOCUMENTS}
    [found] = model.generate_until(instances("generate_until", [("Which color?", {}, visuals, 1, "colors", "test")]))
    turns = (Turn("system", (Text("Be brief."),)), *turn(DOCUMENTS[1]))
    assert found.text == session.answer([turns], 5)[0]


@pytest.mark.parametrize("batch_size", [1, 4])
def test_choices_are_scored_as_beginnings_of_an_answer(run: Path, session: Session, batch_size: int) -> None:
    model = ModRWKVSimple(str(run), device="cpu", batch_size=batch_size)
    model.task_dict["colors"] = {"test": DOCUMENTS}
    places = [(color, at) for at in range(3) for color in COLORS]
    asked = [("Which color?", f" {color}", visuals, at, "colors", "test") for color, at in places]
    last = ("Which color?", lambda document: document["question"], visuals, 0, "colors", "test")
    results = model.loglikelihood(instances("loglikelihood", [*asked, last, ("", "green")]))
    found = [(-loss, greedy) for loss, greedy in (one.text for one in results)]
    encode = session.model.tokenizer.encode
    for (total, greedy), (text, at) in zip(found, [*places, ("Which color?", 0)], strict=False):
        sample = session.conversations.prompt(turn(DOCUMENTS[at]))
        [expected] = session.log_likelihoods([turn(DOCUMENTS[at])], [text])
        [end] = session.log_likelihoods([turn(DOCUMENTS[at])], [text], end=False)
        assert (total, greedy) == (pytest.approx(end.total, rel=1e-4), end.greedy)
        assert total > expected.total  # which scores the end too
        assert len(sample.media) == 1
    [plain] = session.token_log_likelihoods([[0]], [encode("green")])
    assert found[-1][0] == pytest.approx(plain.total, rel=1e-4)


def test_rounds_are_refused(run: Path) -> None:
    with pytest.raises(ModRWKVError, match="several rounds"):
        ModRWKVChat(str(run), device="cpu").generate_until_multi_round([])


def test_sounds_are_decoded_without_torchcodec(tmp_path: Path) -> None:
    samples = np.sin(np.arange(800) / 20).astype(np.float32)
    soundfile.write(tmp_path / "tone.wav", samples, 8000, "FLOAT")
    content = (tmp_path / "tone.wav").read_bytes()
    files = [{"bytes": content, "path": "tone.wav"}, {"bytes": None, "path": str(tmp_path / "tone.wav")}, None]
    stored = {"audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
    split = datasets.Dataset.from_dict({"audio": files}, datasets.Features(stored))
    split = split.cast_column("audio", datasets.Audio())
    documents = Documents(split)
    for index in range(2):
        sound = documents[index]["audio"]
        assert (sound["type"], sound["sampling_rate"]) == ("audio", 8000)
        np.testing.assert_allclose(sound["array"], samples, atol=1e-6)
        [part] = parts_of_visuals([sound])
        assert part.modality == "audio"
    assert documents[2] == {"audio": None}


def test_what_a_task_shows_has_a_modality() -> None:
    image = DOCUMENTS[0]["image"]
    assert list(parts_of_visuals(None)) == []
    shown = [image, ["a.PNG", "b.flac"], Path("c.mp4"), {"type": "video", "url": "d"}]
    assert [(part.modality, part.media) for part in parts_of_visuals(shown)] == [
        ("image", image),
        ("image", "a.PNG"),
        ("audio", "b.flac"),
        ("video", Path("c.mp4")),
        ("video", "d"),
    ]
    with pytest.raises(DataError, match="shows a int"):
        list(parts_of_visuals([3]))
    with pytest.raises(DataError, match="a section of a video"):
        part_of({"type": "video", "url": "d", "start_time": 1.0})
