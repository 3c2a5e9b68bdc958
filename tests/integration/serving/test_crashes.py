"""Sessions of servers that are killed under load, against the same conversations without a kill."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest

from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.training.loop import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*the model does not use its series:UserWarning"),
]

PATIENCE = 300.0
SESSIONS = 10


@dataclass
class Talk:
    """A session, and the answers that came whole."""

    session: str
    answers: list[str] = field(default_factory=list)

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Session-Id": self.session}


class Server:
    """``modrwkv serve`` in a process of its own."""

    def __init__(self, run: Path, sessions: Path, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._log = sessions.with_name(f"{port}.log")
        command = ["serve", f"tiny={run}", "--sessions", str(sessions), "--port", str(port), "--device", "cpu"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "modrwkv_core", *command, *options], stdout=log, stderr=log
            )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            try:
                if self.http.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def begin(self) -> Talk:
        response = self.http.post("/v1/sessions", json={"model": "tiny"})
        assert response.status_code == 201, response.text
        return Talk(response.json()["id"])

    def ask(self, talk: Talk) -> str:
        """Ask the next question of a conversation; each has its own seed.

        Raises:
            httpx.HTTPError: The server, or the replica that answers, is gone.
        """
        number = len(talk.answers)
        body = {
            "model": "tiny",
            "session": talk.session,
            "messages": [{"role": "user", "content": f"Say {number}."}],
            "seed": number,
            "max_tokens": 24,
        }
        response = self.http.post("/v1/chat/completions", json=body, headers=talk.headers).raise_for_status()
        talk.answers.append(response.json()["choices"][0]["message"]["content"])
        return talk.answers[-1]

    def describe(self, talk: Talk) -> dict[str, Any]:
        """Describe a session, as soon as a replica that knows it is there."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                response = self.http.get(f"/v1/sessions/{talk.session}", headers=talk.headers).raise_for_status()
                return dict(response.json())
            except httpx.HTTPError:
                assert time.monotonic() < deadline, self.log
                time.sleep(0.2)


@pytest.fixture
def run(tiny_manifest: Callable[..., Path], tmp_path: Path) -> Path:
    phase = {"name": "one", "train": ["backbone", "heads"], "lr": 1e-2, "steps": 4}
    train(
        load_manifest(tiny_manifest(phases=[phase])), tmp_path / "run", resume=False, device="cpu", progress_bar=False
    )
    return tmp_path / "run"


@pytest.fixture
def start(run: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers that keep their sessions in one folder."""
    servers: list[Server] = []

    def begin(*options: str) -> Server:
        servers.append(Server(run, tmp_path / "sessions", *options))
        servers[-1].wait_until_ready()
        return servers[-1]

    yield begin
    for server in servers:
        server.http.close()
        server.process.kill()
        server.process.wait()


@contextmanager
def load(server: Server, talks: list[Talk]) -> Iterator[Callable[[], int]]:
    """Ask in all conversations at once, in each until an answer breaks; yield what counts those that broke."""
    stop = Event()

    def go_on(talk: Talk) -> bool:
        while not stop.is_set():
            try:
                server.ask(talk)
            except httpx.HTTPError:
                return True
        return False

    with ThreadPoolExecutor(len(talks)) as threads:
        asking = [threads.submit(go_on, talk) for talk in talks]
        try:
            yield lambda: sum(one.done() and one.result() for one in asking)
        finally:
            stop.set()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def check_that_they_go_on(server: Server, talks: list[Talk]) -> None:
    """Check that each conversation stands where its client knows it, and goes on as one that was not killed."""
    unharmed = server.begin()
    for talk in sorted(talks, key=lambda talk: len(talk.answers)):
        complete = server.describe(talk)["answers"]
        assert len(talk.answers) <= complete <= len(talk.answers) + 1, "only an answer without its end is in doubt"
        if complete > len(talk.answers):
            undone = server.http.post(f"/v1/sessions/{talk.session}/undo", headers=talk.headers)
            assert undone.json()["answers"] == len(talk.answers)
        for _ in range(2):
            server.ask(talk)
        while len(unharmed.answers) < len(talk.answers):
            server.ask(unharmed)
        assert talk.answers == unharmed.answers[: len(talk.answers)]
    assert len(set(unharmed.answers)) > 1


def test_saved_sessions_go_on_after_a_kill(start: Callable[..., Server]) -> None:
    server = start()
    talks = [server.begin() for _ in range(SESSIONS)]
    for talk in talks:
        assert server.http.post(f"/v1/sessions/{talk.session}/save").json()["saved"]
    with load(server, talks) as broken:
        wait_until(lambda: all(len(talk.answers) >= 2 for talk in talks))
        server.process.kill()
        wait_until(lambda: broken() == len(talks))
    check_that_they_go_on(start(), talks)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_sessions_of_a_killed_replica_go_on_at_another(start: Callable[..., Server]) -> None:
    server = start("--replicas", "2")
    wait_until(lambda: "2 replicas" in server.log)  # the first one answers before the other is there
    talks = [server.begin() for _ in range(SESSIONS)]
    with load(server, talks) as broken:
        wait_until(lambda: all(len(talk.answers) >= 2 for talk in talks))
        first, _ = replicas_of(server.process.pid)
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: broken() > 0)
    assert broken() < len(talks), "the other replica went on meanwhile"
    check_that_they_go_on(server, talks)
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2048, "stream": True}
    with server.http.stream("POST", "/v1/chat/completions", json={**body, "temperature": 0}) as answer:
        lines = answer.iter_lines()
        next(lines)
        server.process.terminate()
        assert list(lines)[-2:] == ["data: [DONE]", ""], "what is open is answered to its end"
    assert server.process.wait(PATIENCE) == 0, server.log


def replicas_of(server: int) -> list[int]:
    """Return the processes of Ray's replicas that descend from a process."""
    parents: dict[int, int] = {}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if (folder / "cmdline").read_bytes().startswith(b"ray::ServeReplica"):
                found.append(int(folder.name))
        except OSError:
            continue

    def descends(process: int) -> bool:
        while process and process != server:
            process = parents.get(process, 0)
        return process == server

    return [process for process in found if descends(process)]
