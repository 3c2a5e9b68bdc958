"""Whatever a stranger's component raises while a model works becomes one error that names it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modrwkv_core.errors import ModRWKVError, PluginError
from modrwkv_core.evaluation.evaluator import evaluate
from modrwkv_core.inference.session import Session
from modrwkv_core.interfaces.decoding import Decoding
from modrwkv_core.interfaces.guard import Origin
from modrwkv_core.manifest.load import LoadedManifest, load_manifest
from modrwkv_core.model import build
from modrwkv_core.model.assemble import assemble
from modrwkv_core.training.loop import train

WINDOWS = {"source": "csv_windows", "path": "waves.csv", "columns": ["sine"], "context_length": 24, "horizon": 6}
EVALUATION = {"waves": {"task": {"type": "forecast"}, "data": WINDOWS}}


def ask(loaded: LoadedManifest, folder: Path) -> None:
    Session(loaded, assemble(loaded, pretrained=False).eval(), folder).generate("Say yes.", max_tokens=3)


def learn(loaded: LoadedManifest, folder: Path) -> None:
    train(loaded, folder / "run", resume=False, device="cpu", progress_bar=False)


def score(loaded: LoadedManifest, folder: Path) -> None:
    evaluate(Session(loaded, assemble(loaded, pretrained=False).eval(), folder), "waves")


@pytest.mark.parametrize(
    ("component", "method", "work"),
    [
        ("tokenizer/bytes", "encode", ask),
        ("tokenizer/bytes", "decode", ask),
        ("backbone/rwkv7", "embed", ask),
        ("backbone/rwkv7", "prefill", ask),
        ("head/lm", "predict", ask),
        ("backbone/rwkv7", "forward", learn),
        ("head/lm", "supervise", learn),
        ("head/forecast", "supervise", learn),
        ("optimizer/adamw", "step", learn),
        ("scheduler/cosine", "factor", learn),
        ("finetuning/full", "prepare", learn),
        ("finetuning/full", "trainable", learn),
        ("finetuning/full", "state_dict", learn),
        ("head/forecast", "predict", score),
        ("task/forecast", "baselines", score),
        ("task/forecast", "sample", score),
        ("metric/mse", "update", score),
        ("metric/mse", "compute", score),
    ],
)
def test_errors_of_components_name_their_distribution(
    component: str,
    method: str,
    work: Callable[[LoadedManifest, Path], None],
    tiny_manifest: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = build._construct

    def construct(implementation: type[Any], origin: Origin, *arguments: Any, **sections: Any) -> Any:
        if origin.component != component:
            return made(implementation, origin, *arguments, **sections)

        def fail(*_: Any, **__: Any) -> Any:
            raise SystemExit("it gave up")

        broken = type(implementation.__name__, (implementation,), {method: fail})
        return made(broken, Origin(component, "a-stranger"), *arguments, **sections)

    monkeypatch.setattr(build, "_construct", construct)
    loaded = load_manifest(tiny_manifest(evaluation=EVALUATION))
    with pytest.raises(ModRWKVError, match=rf"{method}\(\) failed: SystemExit: it gave up") as caught:
        work(loaded, tmp_path)
    assert (caught.value.component, caught.value.distribution) == (component, "a-stranger")


def test_a_decoders_steps_name_the_backbone(
    tiny_manifest: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_manifest(tiny_manifest())
    session = Session(loaded, assemble(loaded, pretrained=False).eval(), tmp_path)
    session.generate("Say yes.", max_tokens=2)

    class Broken(Decoding):
        def step(self, ids: Any) -> Any:
            raise RuntimeError("no more")

        def state(self, rows: Any = None) -> Any:
            raise AssertionError("nobody asks")

        def join(self, state: Any) -> None:
            raise AssertionError("nobody joins")

        def keep(self, rows: Any) -> None:
            raise AssertionError("nobody leaves")

    decoder = session.decoders["lm"]
    monkeypatch.setattr(type(decoder), "start", lambda self, state: Broken())
    session.model.backbone.origin = Origin("backbone/rwkv7", "a-stranger")
    session.banned = session.banned.new_tensor([*session.ends])  # so that an answer has a second token
    with pytest.raises(PluginError, match=r"step\(\) failed: RuntimeError: no more"):
        session.generate("Say yes.", max_tokens=3)
