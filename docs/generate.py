"""Writes the reference pages from the code: ``python docs/generate.py [FOLDER]``, by default docs/reference.

Only the distributions of this repository are described, whatever else is installed and whatever the environment says.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import click
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from modrwkv_core import hookspecs, plugin, testing
from modrwkv_core.cli.main import program
from modrwkv_core.cli.threads import SPIN_COUNT
from modrwkv_core.interfaces.guard import CORE
from modrwkv_core.manifest import schema
from modrwkv_core.manifest.sections import Section
from modrwkv_core.plugin import KINDS, CommandSpec, ComponentSpec, ModalitySpec, PresetSpec
from modrwkv_core.registry import Registry, discover
from modrwkv_core.registry.hints import known
from modrwkv_core.testing.neural import NeuralContract
from modrwkv_core.testing.registration import ComponentContract, PluginContract

ROOT = Path(__file__).resolve().parents[1]
NOTE = "<!-- Written by docs/generate.py: change the code and run `make docs`. -->"
WIDTH = 100

BOUNDS = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
    "multipleOf": "a multiple of",
}
WORDS = {"string": "text", "boolean": "`true` or `false`", "null": "`null`"}
TABLE = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

VARIABLES = {
    "MODRWKV_DATA": "Folder from which the paths of data are meant, from the working directory: the same as "
    "`data_root=` on the command line. It also tells a run that was moved where its data lie.",
    "MODRWKV__SECTION__KEY": "Sets `section.key` of the manifest, in any depth: `MODRWKV__PHASES__ALIGN__LR=2e-4` sets "
    "`phases.align.lr`. The value is YAML; `@FILE` reads it from a file. `KEY=VALUE` on the command line wins.",
    "MODRWKV_PLUGINS": "Distributions that may be loaded besides modrwkv itself, comma-separated; unset: all that are "
    "installed. `DISTRIBUTION:ENTRY-POINT` names one plugin of several.",
    "MODRWKV_DISABLE_PLUGINS": "Distributions that are not loaded, comma-separated.",
    "MODRWKV_STRICT_PLUGINS": "`1` makes a broken plugin an error for every command. Without it, only what needs that "
    "plugin fails.",
    "MODRWKV_TRACE_PLUGINS": "`1` writes every call of a hook, with its result, to the standard error output.",
    "MODRWKV_TRACEBACK": "`1` shows the traceback of an error, as `--traceback` does.",
    "MODRWKV_MAX_IMAGE_PIXELS": "Pixels above which an image file is refused before it is decoded; by default "
    "89478485.",
    "MODRWKV_MAX_AUDIO_SAMPLES": "Samples of all channels above which a sound file is refused before it is decoded; by "
    "default 268435456.",
    "MODRWKV_API_KEYS": "Keys of which `modrwkv serve` asks each client for one, comma-separated; unset: it asks for "
    "none.",
    "MODRWKV_CACHE": "Folder of what can be made again, such as measured lengths and the places of samples in tar "
    "archives; by default `modrwkv` in `XDG_CACHE_HOME` or `~/.cache`.",
    "MODRWKV_MAX_FILE_BYTES": "Bytes above which a media file is refused before it is read; by default 2147483648.",
}
FOREIGN_VARIABLES = {
    "OMP_NUM_THREADS": "Threads that torch computes with on a CPU.",
    "GOMP_SPINCOUNT": (
        "How long a thread that waits for others spins before it sleeps, in turns of a loop. `modrwkv` sets it to "
        f"{SPIN_COUNT} unless it or `OMP_WAIT_POLICY` is set; Python programs set it before they import torch. See "
        "[Share a CPU with other programs](../how-to/busy-machine.md)."
    ),
    "OMP_WAIT_POLICY": "`passive` makes waiting threads sleep at once, `active` makes them spin.",
    "CUDA_VISIBLE_DEVICES": "GPUs that torch sees; empty: none.",
    "XDG_CACHE_HOME": "Folder of all programs' caches; by default `~/.cache`.",
    "HF_HOME": "Where huggingface_hub keeps downloaded checkpoints, and datasets what it has prepared.",
    "HF_DATASETS_CACHE": "Where the source `hf_dataset` keeps data sets that it has prepared or streamed.",
    "HF_HUB_OFFLINE": "`1` keeps huggingface_hub from asking the network: only what is in its cache is found.",
    "TENSORBOARD_LOGGING_DIR": "Folder of TensorBoard's event files; makes `modrwkv-tensorboard` active.",
    "WANDB_PROJECT": "Project in Weights & Biases; makes `modrwkv-wandb` active.",
    "TRACKIO_PROJECT": "Project in Trackio; makes `modrwkv-trackio` active.",
    "MLFLOW_TRACKING_URI": "MLflow's server; makes `modrwkv-mlflow` active.",
    "RAY_ADDRESS": "The Ray cluster on which `modrwkv serve --replicas` runs; unset: this machine.",
    "CXX": "The C++ compiler that modrwkv-kernels is built with.",
}


def main() -> None:
    """Write all pages into the folder that the command line names."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "reference"
    registry = first_party()
    pages = {
        "commands.md": commands(),
        "components.md": components(registry),
        "hooks.md": hooks(),
        "contract.md": contract(),
        "plugins.md": known_plugins(registry),
        "environment.md": environment(),
    }
    for name, paragraphs in pages.items():
        (folder / name).write_text("\n\n".join([NOTE, *paragraphs]) + "\n", encoding="utf-8")
    (folder / "manifest.md").write_text(manifest(), encoding="utf-8")


def first_party() -> Registry:
    """Discover the distributions of this repository, and let nothing else be discovered from here on."""
    projects = [
        tomllib.loads(path.read_text(encoding="utf-8"))["project"] for path in ROOT.glob("plugins/*/*/pyproject.toml")
    ]
    names = sorted(project["name"] for project in projects if "modrwkv" in project["entry-points"])
    for variable in [name for name in os.environ if name.startswith("MODRWKV_")]:
        del os.environ[variable]
    os.environ["MODRWKV_PLUGINS"] = ",".join(names)
    registry = discover()
    usable = {entry.distribution for entry in registry.plugins if entry.state == "ok"}
    if missing := set(names) - usable:
        sys.exit(
            f"not installed or broken: {', '.join(sorted(missing))}; run `make setup`, then `modrwkv plugins doctor`"
        )
    return registry


def commands() -> Iterator[str]:
    """Yield the help of the program and of all its commands."""
    yield "# Commands"
    yield (
        "Every command exits with 0 if all went well, with 2 if the user has to change something, and with 130 if it "
        "was interrupted. `modrwkv doctor` and `modrwkv plugins doctor` exit with 1 if they found something wrong."
    )
    context = click.Context(program, info_name="modrwkv", terminal_width=WIDTH, **program.context_settings)
    yield from _help(context)


def _help(context: click.Context) -> Iterator[str]:
    yield f"## {context.command_path}"
    yield f"```text\n{context.get_help()}\n```"
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None, f"{name} is listed"
            yield from _help(click.Context(command, parent=context, info_name=name))


def manifest() -> str:
    """Return the manifest's page with the tables of now: one for each section, between words written by hand."""
    page = (ROOT / "docs" / "reference" / "manifest.md").read_text(encoding="utf-8")
    shown, sections = {match[2] for match in TABLE.finditer(page)}, {model.__name__ for model in _sections()}
    if shown != sections:
        sys.exit(f"docs/reference/manifest.md: give each section a table; they differ in {shown ^ sections}")
    return TABLE.sub(lambda match: f"{match[1]}{table(getattr(schema, match[2]))}\n{match[3]}", page)


def _sections() -> Iterator[type[Section]]:
    for value in vars(schema).values():
        if isinstance(value, type) and issubclass(value, Section) and value is not Section:
            yield value


def components(registry: Registry) -> Iterator[str]:
    """Yield every component by kind, with its configuration."""
    yield "# Components"
    yield (
        "What the distributions of this repository bring. `modrwkv plugins list` shows what is installed here, other "
        "people's plugins included. A section of the manifest names a component after `type:`, a data source after "
        "`source:`; the other keys are those of the table."
    )
    kinds = ["modality", *KINDS]
    yield "\n".join(f"- [{_plural(kind)}](#{_plural(kind).lower()})" for kind in kinds)
    yield f"## {_plural('modality')}"
    for modality in registry.modalities():
        yield f"### {modality.spec.name} (modality)"
        facts = {"suffixes": " ".join(f"`{suffix}`" for suffix in modality.spec.suffixes)}
        yield _facts(modality.spec.summary, modality.distribution, facts)
        description, _, _ = markdown(registry.modality_class(modality.spec.name).__doc__).partition("\n\nArgs:")
        yield description
    for kind in KINDS:
        yield f"## {_plural(kind)}"
        for entry in registry.components(kind):
            spec = entry.spec
            model = registry.config_class(kind, spec.name)
            yield f"### {spec.name} ({kind})"
            facts = {
                "modality": f"[{spec.modality}](#{spec.modality}-modality)" if spec.modality else "",
                "paper": spec.paper,
                "former names": ", ".join(spec.aliases),
            }
            yield _facts(spec.summary, entry.distribution, facts)
            yield markdown(model.__doc__)
            if len(model.model_fields) > 1:
                yield table(model, without=("type", "source"))


def _plural(kind: str) -> str:
    return {"modality": "Modalities", "finetuning": "Finetuning"}.get(kind, f"{kind.capitalize()}s")


def _facts(summary: str, distribution: str, facts: dict[str, str]) -> str:
    known = {"in short": summary, "distribution": f"`{distribution}`", **facts}
    return "\n".join(f"- {name}: {fact}" for name, fact in known.items() if fact)


def hooks() -> Iterator[str]:
    """Yield every hook and the records that hooks return."""
    yield "# Hooks"
    yield markdown(plugin.__doc__)
    yield "## The hooks"
    yield markdown(hookspecs.__doc__)
    for name, hook in vars(hookspecs).items():
        if name.startswith("modrwkv_"):
            yield f"### {name}"
            signature = str(inspect.signature(hook)).replace("'", "")
            yield f"```python\n{name}{signature}\n```"
            yield markdown(hook.__doc__)
    yield "## The records"
    for record in (ComponentSpec, ModalitySpec, PresetSpec, CommandSpec):
        yield f"### {record.__name__}"
        yield markdown(record.__doc__)
    yield f"Kinds of component: {', '.join(f'`{kind}`' for kind in KINDS)}. `PLUGIN_API` is {plugin.PLUGIN_API}."


def contract() -> Iterator[str]:
    """Yield every point that the contract tests check."""
    yield "# The contract"
    yield (
        "A plugin's tests inherit the class of each component's kind, which pytest then runs; see "
        "[Write an encoder in 15 minutes](../how-to/write-a-plugin.md). `modrwkv plugins check` runs the same and "
        "prints one line for each point."
    )
    shared = (PluginContract, ComponentContract, NeuralContract)
    for kind in (*shared, *(getattr(testing, name) for name in testing.__all__)):
        inherited = {name for base in shared if base is not kind and issubclass(kind, base) for name in vars(base)}
        points = {name: point for name, point in inspect.getmembers(kind, inspect.isfunction) if name not in inherited}
        yield f"## {kind.__name__}"
        yield markdown(kind.__doc__)
        yield _rows(
            ("point", "what holds", "when it fails"),
            (
                (name.removeprefix("test_").replace("_", " "), *_line(point.__doc__).partition(" Remedy: ")[::2])
                for name, point in points.items()
                if name.startswith("test_")
            ),
        )


def known_plugins(registry: Registry) -> Iterator[str]:
    """Yield what to install for each component that is not the core's; refuse to if the registry's table is wrong."""
    entries = {(entry.spec.kind, entry.spec.name): entry for entry in registry.components()}
    entries |= {("modality", entry.spec.name): entry for entry in registry.modalities()}
    provided = {key: entry for key, entry in entries.items() if entry.distribution != CORE}
    listed = {(kind, name): by for kind in ("modality", *KINDS) for name, by in known(kind).items()}
    if wrong := {key: entry.distribution for key, entry in provided.items()}.items() ^ listed.items():
        sys.exit(f"known_plugins.toml and the distributions of this repository differ in {sorted(wrong)}")
    yield "# Known plugins"
    yield (
        "When a manifest names one of these and it is not installed, the error says what to install. Other people's "
        "plugins work in the same way; `modrwkv plugins list` shows what is installed, whoever wrote it."
    )
    yield _rows(
        ("kind", "name", "in short", "what to install"),
        (
            (kind, f"[{name}](components.md#{name}-{kind})", provided[kind, name].spec.summary, f"`pip install {by}`")
            for (kind, name), by in listed.items()
        ),
    )


def environment() -> Iterator[str]:
    """Yield the environment variables; refuse to if the code reads others than are described here."""
    sources = [ROOT / "modrwkv_core", ROOT / "kernels" / "src", *ROOT.glob("plugins/*/*/src")]
    read = set()
    for source in sources:
        for file in source.rglob("*.py"):
            read |= set(re.findall(r'"(MODRWKV_[A-Z_]+)"', file.read_text(encoding="utf-8")))
    described = {"MODRWKV__" if name.startswith("MODRWKV__") else name for name in VARIABLES}
    if read != described:
        sys.exit(f"docs/generate.py: describe in VARIABLES what the code reads; they differ in {read ^ described}")
    yield "# Environment variables"
    yield _rows(("variable", "meaning"), ((f"`{name}`", meaning) for name, meaning in VARIABLES.items()))
    yield "## Of the libraries underneath"
    yield _rows(("variable", "meaning"), ((f"`{name}`", meaning) for name, meaning in FOREIGN_VARIABLES.items()))


def table(model: type[BaseModel], without: tuple[str, ...] = ()) -> str:
    """Return the fields of ``model`` as a table: name, type, default and docstring."""
    shapes = model.model_json_schema()["properties"]
    rows = [
        (f"`{name}`", spell(shapes[name]), _default(model, field), _line(field.description or ""))
        for name, field in model.model_fields.items()
        if name not in without
    ]
    return _rows(("key", "type", "default", "meaning"), rows)


def spell(shape: dict[str, Any]) -> str:
    """Say in words what a JSON Schema allows."""
    match shape:
        case {"component": str(kind)}:
            return f"[{kind}](components.md#{_plural(kind).lower()})"
        case {"$ref": _}:
            return "section"
        case {"anyOf": shapes}:
            return " or ".join(map(spell, shapes))
        case {"enum": values}:
            return " or ".join(f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{value}`"
        case {"prefixItems": [first, *others]}:
            return f"list of {1 + len(others)} ({spell(first)})"
        case {"type": "array", "items": item}:
            return f"list of {spell(item)}" + (", not empty" if shape.get("minItems") else "")
        case {"type": "object", "additionalProperties": True}:
            return "mapping of names to values"
        case {"type": "object"}:
            [item] = shape.get("patternProperties", {"": shape.get("additionalProperties")}).values()
            return f"mapping of names to {spell(item)}" + (", not empty" if shape.get("minProperties") else "")
        case {"type": "string", "format": "path"}:
            return "path"
        case {"type": "integer" | "number" as kind}:
            bounds = [f"{words} {shape[bound]:g}" for bound, words in BOUNDS.items() if bound in shape]
            return f"{kind} {', '.join(bounds)}".strip()
    return WORDS[shape["type"]]


def _default(model: type[BaseModel], field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default_factory_takes_validated_data:
        return "depends on other keys"
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is None and NoneType not in get_args(field.annotation):
        assert "checkpoint" in model.model_fields, f"{model} fills in a default that this page cannot know"
        return "the checkpoint's"
    plain = default.model_dump(exclude_defaults=True) if isinstance(default, BaseModel) else to_jsonable_python(default)
    written = yaml.safe_dump(plain, default_flow_style=True, width=float("inf")).removesuffix("...\n").strip()
    return f"`{written}`"


def _rows(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    cells = [header, ("---",) * len(header), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def _line(text: str) -> str:
    return " ".join(markdown(text).split())


def markdown(docstring: str | None) -> str:
    """Turn a docstring into Markdown: roles and literals become code, lists of arguments become lists."""
    assert docstring, "everything public has a docstring"
    text = inspect.cleandoc(docstring)
    text = re.sub(r":\w+:`~[\w.]*?(\w+)`|:\w+:`([^`]+)`", lambda role: f"`{role[1] or role[2]}`", text)
    text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)
    lines = []
    for line in text.splitlines():
        if re.fullmatch(r"(Args|Attributes|Raises|Returns):", line):
            line = f"{line}\n"
        elif re.match(r" {4}\w+: ", line):
            line = re.sub(r"^ {4}(\w+): ", r"- `\1`: ", line)
        elif line.startswith(" " * 8):
            line = f"  {line.strip()}"
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
