"""The page in headless Chromium, driven by its DevTools protocol."""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from websockets.sync.client import ClientConnection, connect

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCREENSHOTS_VARIABLE = "MODRWKV_SCREENSHOTS"
"""Environment variable: folder that keeps the screenshots, to be looked at."""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium: apt-get install chromium")


class Tab:
    """A tab of the browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.requests: dict[str, str] = {}
        self.problems: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(60))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._notice(message)

    def _notice(self, message: Any) -> None:
        match message:
            case {"method": "Network.requestWillBeSent", "params": {"request": {"url": url}, "requestId": request}}:
                self.requests[request] = url
            case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                self.problems.append(str(details))
            case {"method": "Log.entryAdded", "params": {"entry": {"level": "error", "text": text}}}:
                self.problems.append(text)

    def run(self, script: str) -> Any:
        """Evaluate an expression, or await its promise."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Wait until an expression is true."""
        deadline = time.monotonic() + 60
        while not (found := self.run(condition)):
            assert time.monotonic() < deadline, f"{condition} never comes true: {self.run('document.body.innerText')}"
            time.sleep(0.05)
        return found

    def sent(self, path: str) -> str:
        """Return the body of the latest request to a path."""
        request = [request for request, url in self.requests.items() if url.endswith(path)][-1]
        body: str = self.call("Network.getRequestPostData", requestId=request)["postData"]
        return body

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && document.querySelector('#model option') !== null")
        self.wait("document.querySelector('#branch option') !== null")

    def key(self, name: str) -> None:
        codes = {"Tab": 9, "Enter": 13, "ArrowRight": 39}
        common = {"key": name, "code": name, "windowsVirtualKeyCode": codes[name]}
        text = {"text": "\r"} if name == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path: Path) -> None:
        shown = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shown["data"]))


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[..., Tab]]:
    """Open browsers, each with a profile of its own, and with more options."""
    processes = []

    def start(*more: str) -> Tab:
        profile = tmp_path / f"profile{len(processes)}"
        assert BROWSER is not None
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        options += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "--window-size=1000,800", *more]
        silent = subprocess.DEVNULL
        processes.append(subprocess.Popen([BROWSER, *options, "about:blank"], stdout=silent, stderr=silent))
        port_file = profile / "DevToolsActivePort"
        deadline = time.monotonic() + 120
        while not port_file.exists() or not port_file.read_text():
            assert processes[-1].poll() is None, "the browser ended"
            assert time.monotonic() < deadline, "the browser does not start"
            time.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        tabs = httpx.get(f"http://127.0.0.1:{port}/json/list", timeout=60).json()
        url = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        return Tab(sockets.enter_context(connect(url, max_size=None)))

    with ExitStack() as sockets:
        yield start
    for process in processes:
        process.terminate()
        process.wait()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Folder of screenshots."""
    folder = Path(os.environ.get(SCREENSHOTS_VARIABLE, tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


ANSWERED = "document.querySelector('#log').getAttribute('aria-busy') === 'false'"


def ask(tab: Tab, question: str, answers: int) -> None:
    tab.run(f"document.querySelector('#question').focus(), document.querySelector('#question').value = {question!r}")
    tab.key("Enter")
    tab.wait(f"document.querySelectorAll('#log li.assistant').length === {answers} && {ANSWERED}")
    assert "bad" not in tab.run("document.querySelector('#status').className"), tab.run("document.body.innerText")


def test_a_chat_with_a_picture_undo_and_fork(server: Any, browse: Callable[[], Tab], shots: Path) -> None:
    tab = browse()
    tab.open(server.url)
    ask(tab, "Say yes.", 1)
    tab.run(
        "(async () => {"
        " const canvas = Object.assign(document.createElement('canvas'), {width: 64, height: 48});"
        " canvas.getContext('2d').fillRect(8, 8, 40, 30);"
        " const blob = await new Promise((done) => canvas.toBlob(done));"
        " const files = new DataTransfer(); files.items.add(new File([blob], 'square.png', {type: 'image/png'}));"
        " const input = document.querySelector('#files'); input.files = files.files;"
        " input.dispatchEvent(new Event('change')); })()"
    )
    tab.wait("document.querySelectorAll('#attachments li').length === 1")
    ask(tab, "What is this?", 2)
    assert tab.run("document.querySelector('#log img').naturalWidth") == 64
    tab.screenshot(shots / "chat.png")

    before = tab.run("document.querySelector('#log').innerText")
    tab.run("document.querySelector('#fork').click()")
    tab.wait("document.querySelectorAll('#branch option').length === 2")
    tab.run("document.querySelector('#undo').click()")
    tab.wait("document.querySelectorAll('#log li').length === 2")
    assert tab.run("document.querySelector('#question').value") == "What is this?"
    tab.run("document.querySelector('#branch').selectedIndex = 0")
    tab.run("document.querySelector('#branch').dispatchEvent(new Event('change'))")
    assert tab.run("document.querySelectorAll('#log li').length") == 4, "the other branch is as it was"
    assert tab.run("document.querySelector('#log').innerText").split() == before.split()

    tab.open(server.url)
    assert tab.run("document.querySelectorAll('#log li').length") == 4, "a reload keeps the conversation"
    assert all(url.startswith((server.url, "blob:", "data:")) for url in tab.requests.values()), tab.requests
    assert not tab.problems


MICROPHONE = "--use-fake-device-for-media-stream"
TONE = 440.0  # Hz


def test_the_microphone_is_recorded_sent_and_answered(
    server: Any, browse: Callable[..., Tab], shots: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "tone.wav", np.sin(2 * np.pi * TONE * np.arange(48_000) / 48_000) / 2, 48_000)
    said = f"--use-file-for-fake-audio-capture={tmp_path / 'tone.wav'}"
    tab = browse(MICROPHONE, "--use-fake-ui-for-media-stream", said)
    tab.open(server.url)

    def record() -> None:
        tab.run("document.querySelector('#record').focus()")
        tab.key("Enter")
        tab.wait("document.querySelector('#record').getAttribute('aria-pressed') === 'true'")
        tab.wait("parseInt(document.querySelector('#recorded').textContent) >= 2")

    record()
    tab.screenshot(shots / "recording.png")
    tab.key("Enter")
    tab.wait("document.querySelectorAll('#attachments li').length === 1")
    assert tab.run("document.querySelector('#record').getAttribute('aria-pressed')") == "false"
    before = server.engine.stats().prompt_tokens
    ask(tab, "What do you hear?", 1)
    heard = server.engine.stats().prompt_tokens - before
    tab.screenshot(shots / "recorded.png")
    [message] = json.loads(tab.sent("v1/chat/completions"))["messages"]
    sound, rate = soundfile.read(io.BytesIO(base64.b64decode(message["content"][0]["input_audio"]["data"])))
    assert rate == 16_000
    assert len(sound) >= 2 * rate
    loudness = np.abs(np.fft.rfft(sound))
    assert abs(float(np.fft.rfftfreq(len(sound), 1 / rate)[loudness.argmax()]) - TONE) < 5
    assert heard > 40, "the recording was among what the model read"
    record()
    ask(tab, "And now?", 2)
    assert tab.run("document.querySelectorAll('#log audio').length") == 2, (
        "what is sent while it is recorded is sent, too"
    )
    assert tab.run("document.querySelector('#record').getAttribute('aria-pressed')") == "false"
    assert not tab.problems


def test_a_microphone_that_is_refused_is_said(server: Any, browse: Callable[..., Tab]) -> None:
    tab = browse(MICROPHONE, "--deny-permission-prompts")
    tab.open(server.url)
    tab.run("document.querySelector('#record').click()")
    tab.wait("document.querySelector('#status').className === 'bad'")
    assert "microphone" in tab.run("document.querySelector('#status').textContent")
    assert tab.run("document.querySelector('#record').getAttribute('aria-pressed')") == "false"


def test_only_what_the_server_forgot_is_dropped(server: Any, browse: Callable[[], Tab]) -> None:
    tab = browse()
    tab.open(server.url)
    tab.run("document.querySelector('#fork').click()")
    tab.wait("document.querySelectorAll('#branch option').length === 2")
    kept = json.loads(tab.run("localStorage.getItem('modrwkv-sessions-tiny')"))
    server.delete(f"/v1/sessions/{kept['branches'][0]['session']}")
    busy = "Promise.resolve(new Response('', {status: 429}))"
    script = f"const ask = fetch; fetch = (path, given) => path.startsWith('v1/sessions/') ? {busy} : ask(path, given)"
    added = tab.call("Page.addScriptToEvaluateOnNewDocument", source=script)
    tab.open(server.url)
    assert tab.run("document.querySelectorAll('#branch option').length") == 2, "a busy server has them still"
    tab.call("Page.removeScriptToEvaluateOnNewDocument", **added)
    tab.open(server.url)
    assert tab.run("document.querySelectorAll('#branch option').length") == 1


def test_a_forecast_is_drawn(server: Any, browse: Callable[[], Tab], shots: Path) -> None:
    tab = browse()
    tab.open(server.url)
    tab.run("document.querySelector('#tab-chat').focus()")
    tab.key("ArrowRight")
    assert tab.run("document.activeElement.id") == "tab-forecast"
    assert tab.run("document.querySelector('#chat').hidden")
    tab.run("document.querySelector('#forecast-form').requestSubmit()")
    tab.wait("document.querySelectorAll('#chart path').length === 3")
    numbers = tab.run("[...document.querySelectorAll('#chart path')].map((path) => path.getAttribute('d'))")
    assert not any("NaN" in path for path in numbers)
    assert tab.run("document.querySelectorAll('#table tr').length") == 25
    tab.screenshot(shots / "forecast.png")
    tab.run("document.querySelector('#values').value = 'words'")
    tab.run("document.querySelector('#forecast-form').requestSubmit()")
    tab.wait("document.querySelector('#forecast-status').className === 'bad'")
    assert not tab.problems


def test_every_control_has_a_name_and_is_reached_by_keyboard(server: Any, browse: Callable[[], Tab]) -> None:
    tab = browse()
    tab.open(server.url)
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    controls = [
        node
        for node in nodes
        if not node["ignored"] and node["role"]["value"] in ("button", "textbox", "combobox", "tab", "tablist", "log")
    ]
    assert len(controls) > 8
    assert [node for node in controls if not node.get("name", {}).get("value")] == []
    tab.run("document.activeElement.blur()")
    reached = set()
    for _ in range(30):
        tab.key("Tab")
        reached.add(tab.run("document.activeElement.id"))
    assert {"tab-chat", "model", "branch", "fork", "new", "question", "files", "record", "send"} <= reached


def test_each_browser_has_its_own_session(server: Any, browse: Callable[[], Tab]) -> None:
    sessions = []
    for _ in range(2):
        tab = browse()
        tab.open(server.url)
        sessions.append(tab.run("localStorage.getItem('modrwkv-sessions-tiny')"))
    assert json.loads(sessions[0])["branches"][0]["session"] != json.loads(sessions[1])["branches"][0]["session"]
