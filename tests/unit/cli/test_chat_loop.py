"""The lines of a chat."""

from __future__ import annotations

import io
from pathlib import Path
from unittest.mock import create_autospec

import pytest

from modrwkv_core.cli.chat_loop import ChatLoop
from modrwkv_core.errors import EngineError
from modrwkv_core.inference.answer_text import Piece
from modrwkv_core.inference.chat import Chat
from modrwkv_core.inference.generation import Finished, Generation, TokenEvent, Usage


def run(chat: Chat, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(script))
    ChatLoop(chat, interactive=False).run()


@pytest.mark.parametrize("modality", ["image", "lidar"])  # ours, and a stranger's
def test_every_modality_of_the_model_has_a_command(
    modality: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = create_autospec(Chat, instance=True, modalities=["audio", modality])
    chat.attach.return_value = 7
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.touch()
    run(chat, f"/{modality} {paths[0]} {paths[1]}\n/help", monkeypatch)
    assert [call.args for call in chat.attach.call_args_list] == [(modality, path) for path in paths]
    printed = capsys.readouterr()
    assert f"/{modality} FILE..." in printed.out
    assert f"{modality} a: 7 tokens" in printed.err


def test_an_answer_that_breaks_off_is_shown_with_its_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generation = Generation(lambda: None)
    generation.deliver(TokenEvent(1, (Piece("reasoning", "hm"), Piece("content", "yes\r"))))
    generation.finish(Finished("error", Usage(), error=EngineError("the device is gone")))
    chat = create_autospec(Chat, instance=True, modalities=[])
    chat.ask.return_value = generation
    run(chat, "?\n", monkeypatch)
    assert capsys.readouterr() == ("yes\u240d\n", "error: the device is gone\n")
