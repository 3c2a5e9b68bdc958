"""The contract of loggers and callbacks: plugins that implement lifecycle hooks."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Final

from modrwkv_core import hookspecs
from modrwkv_core.manifest.load import manifest_from_dict
from modrwkv_core.testing.registration import PluginContract, installed

__all__ = ["LIFECYCLE", "LoggerContract"]

LIFECYCLE: Final = (
    "modrwkv_run_started",
    "modrwkv_metrics",
    "modrwkv_checkpoint_saved",
    "modrwkv_run_finished",
    "modrwkv_evaluated",
)
"""The hooks that tell of a run's events."""


class LoggerContract(PluginContract):
    """A plugin with lifecycle hooks; a subclass sets ``plugin``."""

    kind: ClassVar = "logger"

    manifest: ClassVar[dict[str, Any]] = {
        "modrwkv": 1,
        "name": "logged",
        "tokenizer": {"type": "bytes"},
        "backbone": {"type": "rwkv7", "num_layers": 1, "hidden_size": 64},
        "data": {"train": [{"source": "chat", "path": "talks.jsonl"}]},
        "phases": [{"name": "align", "train": ["backbone"], "lr": 1e-3, "steps": 2}],
    }

    def call(self, hook: str, **arguments: Any) -> None:
        """Call a hook of the plugin with those of the arguments that it names, as a run does."""
        module = import_module(self.plugin)
        function = getattr(module, hook, None)
        if function is not None:
            names = function.__code__.co_varnames[: function.__code__.co_argcount]
            function(**{name: arguments[name] for name in names})

    def run(self, folder: Path, error: BaseException | None = None) -> None:
        """Call all hooks in the order of a run."""
        manifest = manifest_from_dict(self.manifest, folder, registry=installed()).manifest
        self.call("modrwkv_run_started", run=folder, manifest=manifest)
        for step in (1, 2):
            metrics = {"phase": "align", "loss": 2.5, "loss/lm": 2.5, "lr": 1e-3, "tokens_per_second": 100.0}
            self.call("modrwkv_metrics", run=folder, step=step, metrics=metrics)
        self.call("modrwkv_metrics", run=folder, step=2, metrics={"phase": "align", "valid/lm": 2.0})
        if error is None:
            checkpoint = folder / "checkpoints" / "step-00000002"
            checkpoint.mkdir(parents=True, exist_ok=True)
            self.call("modrwkv_checkpoint_saved", run=folder, checkpoint=checkpoint, step=2)
        self.call("modrwkv_run_finished", run=folder, manifest=manifest, error=error)
        if error is None:
            self.call("modrwkv_evaluated", run=folder, step=2, metrics={"tones/accuracy": 0.5})

    def test_it_listens_to_hooks_that_exist(self) -> None:
        """The module implements a lifecycle hook, and names arguments that it has.

        Remedy: spell hooks and arguments as on the reference page of the hooks.
        """
        module = import_module(self.plugin)
        named = [name for name in dir(module) if name.startswith("modrwkv_")]
        unknown = [name for name in named if not hasattr(hookspecs, name)]
        assert not unknown, f"{self.plugin} implements hooks that do not exist: {', '.join(unknown)}"
        heard = [name for name in named if name in LIFECYCLE]
        assert heard, f"{self.plugin} listens to none of {', '.join(LIFECYCLE)}"
        for name in heard:
            given = getattr(hookspecs, name).__code__
            wanted = getattr(module, name).__code__
            extra = set(wanted.co_varnames[: wanted.co_argcount]) - set(given.co_varnames[: given.co_argcount])
            assert not extra, (
                f"{name} of {self.plugin} names arguments that it is not given: {', '.join(sorted(extra))}"
            )

    def test_it_hears_whole_runs(self, tmp_path: Path) -> None:
        """Every hook returns, run after run, resumed runs and failed ones included.

        Remedy: begin anew in ``modrwkv_run_started``, and close what is open in ``modrwkv_run_finished``.
        """
        for error in (None, RuntimeError("stopped"), None):
            self.run(tmp_path, error)
