"""A real server on a real port, with a tiny model of random weights that sees, hears, reads series and forecasts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import pytest
import torch
import uvicorn
import yaml

from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.engine_settings import EngineSettings
from modrwkv_core.inference.session import Session
from modrwkv_core.manifest.load import load_manifest
from modrwkv_core.model.assemble import assemble
from modrwkv_core.serving.app import create_app
from modrwkv_core.serving.settings import Limits, ServeSettings

SIZES = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 32}
MANIFEST = {
    "modrwkv": 1,
    "name": "tiny",
    "tokenizer": {"type": "bytes"},
    "backbone": {"type": "rwkv7", "num_layers": 2, "hidden_size": 64},
    "modalities": {
        "image": {
            "encoder": {"type": "siglip2", "init": "scratch", "image_size": 16, "patch_size": 8, **SIZES},
            "adapter": {"type": "mlp", "expansion": 1},
        },
        "audio": {
            "encoder": {
                "type": "wavlm",
                "init": "scratch",
                "rate": 8000,
                "conv_dim": [16, 16],
                "conv_kernel": [64, 8],
                "conv_stride": [32, 4],
                "conv_norm": "layer",
                "position_kernel": 16,
                "position_groups": 4,
                **SIZES,
            },
            "compressor": {"type": "conv1d", "kernel": 4, "stride": 4},
            "adapter": {"type": "mlp", "expansion": 1},
        },
        "series": {
            "encoder": {"type": "wavenet", "hidden_size": 8, "num_layers": 3},
            "compressor": {"type": "conv1d", "kernel": 4, "stride": 4},
            "adapter": {"type": "mlp", "expansion": 1},
        },
    },
    "heads": {
        "lm": {"type": "lm"},
        "forecast": {"type": "forecast", "horizon": 6, "loss": "quantile", "quantiles": [0.1, 0.5, 0.9]},
    },
    "data": {"train": [{"source": "chat", "path": "none.jsonl"}]},
    "phases": [{"name": "align", "train": ["adapter"], "lr": 1e-3, "steps": 1}],
}


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Attributes:
        url: Where it listens.
        engine: What answers.
        app: The application.
        stop: Tells it to stop, as a signal does.
    """

    url: str
    engine: Engine
    app: Any
    stop: Callable[[], None]

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        """Send JSON."""
        return httpx.post(f"{self.url}{path}", json=body, timeout=120, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """Ask."""
        return httpx.get(f"{self.url}{path}", timeout=120, **options)

    def delete(self, path: str) -> httpx.Response:
        """Delete."""
        return httpx.delete(f"{self.url}{path}", timeout=120)

    @contextmanager
    def stream(self, path: str, body: Any) -> Iterator[Iterator[str]]:
        """Send JSON and read the lines of the answer; the connection is closed at the end."""
        with httpx.stream("POST", f"{self.url}{path}", json=body, timeout=120) as response:
            yield response.iter_lines()

    def wait_until_idle(self) -> None:
        """Wait until the engine has nothing to do."""
        deadline = time.monotonic() + 60
        while (stats := self.engine.stats()).running + stats.waiting:
            assert time.monotonic() < deadline, f"slots are still taken: {stats}"
            time.sleep(0.01)


@pytest.fixture(scope="session")
def make_session(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Session]:
    """Make the model, the same every time, or with other sections of the manifest; random, so that it says anything."""
    folder = tmp_path_factory.mktemp("tiny")
    path = folder / "manifest.yaml"

    def make(**sections: Any) -> Session:
        path.write_text(yaml.safe_dump(MANIFEST | sections, sort_keys=False))
        torch.manual_seed(0)
        loaded = load_manifest(path)
        model = assemble(loaded, pretrained=False).eval()
        for parameter in model.backbone.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
        return Session(loaded, model, folder)

    return make


@contextmanager
def running(
    session: Session, settings: ServeSettings | None = None, sizes: EngineSettings | None = None
) -> Iterator[Served]:
    engine = Engine(session, sizes or EngineSettings(slots=4, queue=16))
    app = create_app({"tiny": engine}, settings)
    config = uvicorn.Config(app, port=0, log_level="warning", ws="websockets-sansio", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Served(f"http://127.0.0.1:{port}", engine, app, partial(setattr, server, "should_exit", True))
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def run_server() -> Callable[..., Any]:
    """Run a server of a session."""
    return running


@pytest.fixture(scope="session")
def serve(make_session: Callable[[], Session]) -> Callable[..., Any]:
    """Run servers with other settings."""
    return lambda settings, sizes=None: running(make_session(), settings, sizes)


@pytest.fixture(scope="module")
def server(make_session: Callable[[], Session]) -> Iterator[Served]:
    """A server whose answers, which never end by themselves, are short."""
    with running(make_session(), ServeSettings(ui=True, limits=Limits(tokens=128))) as served:
        yield served
