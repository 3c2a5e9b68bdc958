"""A reader of the page on serving starts a server, asks it by curl and OpenAI's client, and stops it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modrwkv_core.cli.main import run_program

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "serve.md"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_a_reader_serves_a_model(
    tmp_path: Path, tiny_manifest: Callable[..., Path], follow: Callable[[Path, Path], None]
) -> None:
    run = str(tmp_path / "runs" / "mine")
    assert run_program(["train", str(tiny_manifest()), "--run", run, "--quiet", "--device", "cpu"]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "serve.log"
    page = tmp_path / "serve.md"
    page.write_text(PAGE.read_text(encoding="utf-8").replace("8000", str(port)).replace("--ui", f"--ui --port {port}"))
    try:
        follow(page, tmp_path)
    finally:
        pid = int((tmp_path / "serve.pid").read_text())
        deadline = time.monotonic() + 60
        while _is_alive(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        stopped = not _is_alive(pid)
        if not stopped:
            os.kill(pid, signal.SIGKILL)
    assert stopped, log.read_text()
    assert f"serving mine at http://127.0.0.1:{port}" in log.read_text()
    assert "Traceback" not in log.read_text()


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
