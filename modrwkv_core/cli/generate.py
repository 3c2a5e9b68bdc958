"""``modrwkv generate``: ask a trained run about text, images, sounds and series."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modrwkv_core.cli.options import answer_options, load_options
from modrwkv_core.cli.terminal import shown
from modrwkv_core.errors import DataError
from modrwkv_core.registry import discover

if TYPE_CHECKING:
    from modrwkv_core.inference.sampling import Sampling

_OPTIONS = "modrwkv_core.cli.generate.options"


class _Generate(click.Command):
    """A command with an option for each modality of its run, or of what is installed if it names none."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the run among the arguments, whose options the others are."""
        run = next((path for path in map(Path, args) if _is_run(path)), None)
        summaries = {modality.spec.name: modality.spec.summary for modality in discover().modalities()}
        taken = {word for parameter in self.params for word in parameter.opts} | set(ctx.help_option_names)
        ctx.meta[_OPTIONS] = [
            _option(name, summaries.get(name, name))
            for name in (summaries if run is None else _modalities(run))
            if f"--{name}" not in taken
        ]
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters and those of the modalities."""
        return [*super().get_params(ctx), *ctx.meta.get(_OPTIONS, ())]


def _is_run(path: Path) -> bool:
    try:
        return (path / "manifest.yaml").is_file()
    except (OSError, ValueError):  # no path at all, but a prompt
        return False


def _modalities(run: Path) -> Sequence[str]:
    """Return the modalities that the manifest of ``run`` names; loading the run says what is wrong with it."""
    from modrwkv_core.manifest.document import read_document

    content = read_document(run / "manifest.yaml").content
    section = content.get("modalities") if isinstance(content, dict) else None
    names = section.content if section is not None and isinstance(section.content, dict) else ()
    return [name for name in names if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name)]


def _option(name: str, summary: str) -> click.Option:
    return click.Option(
        [f"--{name}", f"media_{name}"],
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"Show the model {summary}; may be repeated.",
    )


@click.command(cls=_Generate)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("prompt")
@answer_options
@click.option(
    "--json-schema",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Make the answer JSON of the schema in this file; needs modrwkv[grammar].",
)
@click.option("--head", metavar="NAME", help="The head that answers, where the model has several that predict tokens.")
@load_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of streamed text.")
def generate(
    run: Path,
    prompt: str,
    max_tokens: int,
    sampling: Sampling,
    stop: tuple[str, ...],
    json_schema: Path | None,
    head: str | None,
    checkpoint: str,
    device: str | None,
    weights: str,
    state: Path | None,
    as_json: bool,
    **media: tuple[Path, ...],
) -> None:
    """Ask the model of RUN the question PROMPT.

    Media stand before the text, or where the prompt has placeholders such as <image>. Their options are named like the
    modalities of RUN; without a run, those that are installed are shown.
    """
    from modrwkv_core.inference.loading import load
    from modrwkv_core.interfaces.placeholders import place_media
    from modrwkv_core.interfaces.record import Media

    schema = None if json_schema is None else _read_schema(json_schema)
    session = load(run, checkpoint=checkpoint, device=device, weights=weights, state=state)
    given = [Media(option.removeprefix("media_"), path) for option, paths in media.items() for path in paths]
    constraint = None if schema is None else session.constraints.json_schema(schema)
    began = time.perf_counter()
    pieces = session.stream(
        place_media([prompt], given)[0],
        max_tokens=max_tokens,
        sampling=sampling,
        stop=stop,
        constraint=constraint,
        head=head,
    )
    if as_json:
        text = "".join(pieces)
        click.echo(json.dumps({"text": text, "seconds": round(time.perf_counter() - began, 3)}, ensure_ascii=False))
        return
    for piece in pieces:
        click.echo(shown(piece), nl=False)
    click.echo()


def _read_schema(path: Path) -> dict[str, Any]:
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as a JSON schema: {error}", hint="name a file with one JSON object"
        ) from error
    if not isinstance(schema, dict):
        raise DataError(f"{path} holds no JSON object, so it is not a schema", hint="name a file with one JSON object")
    return schema
