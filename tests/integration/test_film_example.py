from pathlib import Path

import pytest

from modrwkv_core.cli.main import run_program

EXAMPLE = Path(__file__).parents[2] / "examples/film.yaml"


def test_the_example_sees_and_hears(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["check", str(EXAMPLE)]) == 0
    said = capsys.readouterr().out
    assert "video_frames [256, 768] -> pool2d [16, 768] -> mlp [16, 1024] -> 16 tokens" in said
    assert "wavlm" in said
