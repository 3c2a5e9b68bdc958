"""From a trained run to results: opens the data of its manifest's tasks and asks the model."""

from __future__ import annotations

from typing import Any, NoReturn, Protocol

from tqdm import tqdm

from modrwkv_core.errors import DataError
from modrwkv_core.evaluation.sampling import Subset, draw
from modrwkv_core.interfaces.config import SourceConfig
from modrwkv_core.interfaces.source import Source
from modrwkv_core.interfaces.task import Predictor, Records, Result, Task
from modrwkv_core.manifest.load import LoadedManifest
from modrwkv_core.model.assemble import open_source
from modrwkv_core.model.build import build

__all__ = ["Candidate", "evaluate"]


class Candidate(Predictor, Protocol):
    """A model with its manifest; a :class:`~modrwkv_core.inference.session.Session` is one."""

    @property
    def loaded(self) -> LoadedManifest:
        """The manifest, whose ``evaluation`` says what there is to ask."""
        ...


def evaluate(candidate: Candidate, name: str, *, limit: int | None = None, progress_bar: bool = False) -> Result:
    """Evaluate a model on one task of its manifest.

    Args:
        candidate: The model.
        name: The task's name in the manifest's ``evaluation``.
        limit: Ask only so many records, drawn at random, always the same ones.
        progress_bar: Whether to draw one on the standard error stream.

    Raises:
        DataError: The data are missing, empty, or not what the task asks about.
        PluginError: A source or task cannot be used.
    """
    loaded = candidate.loaded
    section = loaded.manifest.evaluation[name]
    data: Records = _open(loaded, section.data, f"evaluation.{name}.data")
    if limit is not None:
        data = Subset(data, draw(len(data), limit))
    baseline_data = section.baseline_data and _open(loaded, section.baseline_data, f"evaluation.{name}.baseline_data")
    task: Task[Any] = build(loaded.registry, "task", section.task.type, name, section.task, data, baseline_data)
    with tqdm(desc=name, total=len(data), unit="record", disable=not progress_bar) as bar:
        return task.run(candidate, lambda done, _: _advance(bar, done))


def _open(loaded: LoadedManifest, config: SourceConfig, where: str) -> Source[Any]:
    source = open_source(loaded, config)
    if not len(source):
        raise DataError(
            f"{where} holds no records", component=f"source/{config.source}", hint="a task needs at least one"
        )
    return source


def _advance(bar: tqdm[NoReturn], done: int) -> None:
    bar.update(done - bar.n)
