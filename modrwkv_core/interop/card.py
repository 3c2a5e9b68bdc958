"""The model card of a run: what the Hub shows of it, from its manifest, lock and results."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCardData

from modrwkv_core.errors import CheckpointError, ManifestError
from modrwkv_core.manifest.document import read_document
from modrwkv_core.manifest.lock import Lock, Provider, read_lock
from modrwkv_core.model.run import RunFolder
from modrwkv_core.storage.files import write_text

__all__ = ["write_card"]

_Values = Mapping[str, Any]

_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
"""Names that an index accepts (packaging.python.org, "Names and normalization")."""


def write_card(folder: RunFolder, repository: str) -> Path:
    """Write ``README.md`` into a run's folder, unless there is one, and return its path.

    Args:
        folder: The run. Its plugins need not be installed.
        repository: Where it will be found, as ``owner/name``.

    Raises:
        ManifestError: The manifest cannot be read.
        CheckpointError: The lock or the results are damaged.
        WriteError: The folder cannot be written.
    """
    path = folder.path / "README.md"
    if not path.exists():
        manifest = read_document(folder.manifest).plain()
        results = _read(folder.path / "results.json").get("tasks", {})
        front = _front_matter(manifest, results).to_yaml()
        write_text(path, f"---\n{front}\n---\n\n{_body(manifest, read_lock(folder.lock), results, repository)}")
    return path


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", hint="remove it, or write it anew") from error
    return content


def _front_matter(manifest: _Values, results: _Values) -> ModelCardData:
    checkpoints = [section["encoder"].get("checkpoint") for section in manifest.get("modalities", {}).values()]
    base_models = sorted({name for name in checkpoints if name is not None and not Path(name).is_absolute()})
    evaluated = manifest.get("evaluation", {})
    return ModelCardData(
        model_name=manifest["name"],
        library_name="modrwkv",
        base_model=base_models or None,
        tags=["modrwkv", manifest["backbone"]["type"], *manifest.get("modalities", {})],
        eval_results=[
            EvalResult(
                task_type=evaluated[task]["task"]["type"],
                dataset_type=evaluated[task]["data"]["source"],
                dataset_name=task,
                metric_type=metric,
                metric_value=found["score"],
            )
            for task, result in results.items()
            for metric, found in result["metrics"].items()
            if task in evaluated and found["score"] is not None
        ]
        or None,
    )


def _body(manifest: _Values, lock: Lock, results: _Values, repository: str) -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"cell": _cell, "shell": _shell}
    template = environment.from_string(resources.files(__package__).joinpath("card.md.j2").read_text(encoding="utf-8"))
    components = lock.components
    return template.render(
        name=_word(manifest["name"]),
        repository=repository,
        modalities=[_word(name) for name in manifest.get("modalities", {})],
        packages=sorted({provider.distribution for provider in components.values()} - {"modrwkv"}),
        parts=list(_parts(manifest, components)),
        phases=[{**phase, "length": _length(phase)} for phase in manifest["phases"]],
        results=[
            {
                "task": task,
                "count": result["count"],
                "metric": metric,
                "model": found["text"]["model"],
                "baseline": found["text"].get(found["best_baseline"], "none"),
            }
            for task, result in results.items()
            for metric, found in result["metrics"].items()
        ],
    )


def _word(name: str) -> str:
    """Return a name that stands in a line for a shell, as it is.

    Raises:
        ManifestError: It is not a plain word.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ManifestError(
            f"the run's manifest holds the name {name!r}", hint="a name has letters, digits, '.', '_' and '-' only"
        )
    return name


def _one_line(value: object) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in str(value)).split())


def _cell(value: object) -> str:
    """Return a text for a line or a table of Markdown, in which it means nothing but itself."""
    return re.sub(r"([\\`*\[\]<>|&])", r"\\\1", _one_line(value))


def _shell(value: object) -> str:
    """Return a text as one word of a shell command, on one line."""
    return shlex.quote(_one_line(value))


def _parts(manifest: _Values, components: Mapping[str, Provider]) -> Iterator[dict[str, str]]:
    sections = [("backbone", "backbone", manifest["backbone"])]
    for modality, pipeline in manifest.get("modalities", {}).items():
        for kind, section in pipeline.items():
            if kind == "augmentations":
                sections += [(f"{modality}.augmentations", "augmentation", each) for each in section]
            elif section is not None:
                sections.append((f"{modality}.{kind}", kind, section))
    sections += [(f"heads.{name}", "head", section) for name, section in manifest["heads"].items()]
    for name, kind, section in sections:
        provider = components.get(f"{kind}/{section['type']}")
        package = f"{provider.distribution} {provider.version}" if provider else "unknown"
        yield {"name": name, "component": section["type"], "package": package}


def _length(phase: _Values) -> str:
    number, unit = (phase["steps"], "step") if phase.get("epochs") is None else (phase["epochs"], "epoch")
    return f"{number} {unit}{'' if number == 1 else 's'}"
