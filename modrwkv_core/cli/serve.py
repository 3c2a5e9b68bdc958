"""``modrwkv serve``: an OpenAI-compatible server."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from modrwkv_core.cli.options import checkpoint_option
from modrwkv_core.errors import ModRWKVError

if TYPE_CHECKING:
    from modrwkv_core.serving.settings import Limits

KEYS_VARIABLE = "MODRWKV_API_KEYS"


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="[NAME=]RUN...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 for all networks.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="Port to listen at.")
@click.option("--ui", is_flag=True, help="Serve a page at / for a browser: chat, media, forecasts.")
@click.option(
    "--sessions",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where saved conversations are kept; without it, they end with the server.",
)
@click.option(
    "--share-sessions",
    is_flag=True,
    help="Other servers use the folder of --sessions, too: save each conversation from its beginning.",
)
@click.option(
    "--replicas",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Processes that each serve all models, on Ray Serve; they need --sessions, which they share.",
)
@click.option(
    "--prefix-cache",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Where the states of prompts' beginnings outlive the server; without it, they are kept in memory only.",
)
@click.option("--slots", default=16, show_default=True, type=click.IntRange(1), help="Answers written at a time.")
@click.option("--queue", default=256, show_default=True, type=click.IntRange(1), help="Requests that may wait.")
@click.option("--remote-media", is_flag=True, help="Fetch images that requests name by public addresses on the web.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="KEY=NUMBER",
    help="Change a limit, such as audio_seconds=60; may be repeated. An unknown KEY lists them.",
)
@click.option(
    "--transcription-prompt",
    default="Transcribe the recording.",
    show_default=True,
    help="What the model is told about a recording that it shall transcribe.",
)
@click.option(
    "--drain-seconds",
    default=30,
    show_default=True,
    type=click.IntRange(0),
    help="After SIGTERM, how long open requests may take.",
)
@checkpoint_option
@click.option("--device", help="Where to compute; by default a GPU if there is one.")
@click.option(
    "--weights",
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    default="auto",
    show_default=True,
    help="How the backbones' weights are stored: fewer bytes answer faster, auto loses nothing; int8 is for CPUs.",
)
def serve(
    runs: tuple[str, ...],
    host: str,
    port: int,
    ui: bool,
    sessions: Path | None,
    share_sessions: bool,
    replicas: int,
    prefix_cache: Path | None,
    slots: int,
    queue: int,
    remote_media: bool,
    limits: tuple[str, ...],
    transcription_prompt: str,
    drain_seconds: int,
    checkpoint: str,
    device: str | None,
    weights: str,
) -> None:
    """Serve the models of RUN... by OpenAI's protocol, until SIGTERM or Ctrl-C.

    Requests call a model by the name of its run's folder, or by NAME.

    Where the variable MODRWKV_API_KEYS holds keys, separated by commas, every request must bring one of them.
    """
    if sessions is None and (share_sessions or replicas > 1):
        raise ModRWKVError("sessions are shared, and there is no folder for them", hint="name one with --sessions")
    try:
        from modrwkv_core.serving.program import run_server
    except ImportError as error:
        raise _missing("modrwkv serve", "serve", error) from error
    from modrwkv_core.inference.engine_settings import EngineSettings
    from modrwkv_core.serving.engines import EngineSpec
    from modrwkv_core.serving.settings import ServeSettings

    settings = ServeSettings(
        api_keys=_keys(os.environ.get(KEYS_VARIABLE)),
        limits=_limits(limits),
        remote_media=remote_media,
        ui=ui,
        transcription_prompt=transcription_prompt,
        sessions_folder=None if sessions is None else sessions.resolve(),
        shared_sessions=share_sessions or replicas > 1,
    )
    models = {
        name: EngineSpec(
            run.resolve(),
            checkpoint,
            device,
            weights,
            EngineSettings(
                slots=slots,
                queue=queue,
                prefix_cache_dir=None if prefix_cache is None else prefix_cache.resolve() / name,
            ),
        )
        for name, run in _named(runs).items()
    }
    address = f"http://{host}:{port}/{'' if ui else 'v1'}"
    if replicas > 1:
        try:
            from modrwkv_core.serving.replicas import run_replicas
        except ImportError as error:
            raise _missing("modrwkv serve --replicas", "ray", error) from error
        run_replicas(
            models,
            settings,
            replicas=replicas,
            host=host,
            port=port,
            drain_seconds=drain_seconds,
            on_ready=lambda: click.echo(f"serving {', '.join(models)} at {address}, {replicas} replicas", err=True),
        )
        return
    engines = {name: spec.start() for name, spec in models.items()}
    click.echo(f"serving {', '.join(engines)} at {address}", err=True)
    run_server(engines, settings, host=host, port=port, drain_seconds=drain_seconds)


def _missing(command: str, extra: str, error: ImportError) -> ModRWKVError:
    return ModRWKVError(
        f"{command} needs a library that cannot be imported: {error}", hint=f"pip install 'modrwkv[{extra}]'"
    )


def _named(runs: Sequence[str]) -> dict[str, Path]:
    """Return the runs by the names of their models."""
    named: dict[str, Path] = {}
    for given in runs:
        name, equals, path = given.partition("=")
        run = Path(path if equals else given)
        name = name if equals else run.resolve().name
        if not name or name in named:
            raise ModRWKVError(f"{name!r} does not name one model", hint="write NAME=RUN, each name once")
        named[name] = run
    return named


def _keys(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    keys = tuple(key for key in (part.strip() for part in text.split(",")) if key)
    if not keys:  # someone meant to protect the server
        raise ModRWKVError(f"{KEYS_VARIABLE} holds no key", hint="set it to one or more keys, or unset it")
    return keys


def _limits(given: Sequence[str]) -> Limits:
    from modrwkv_core.serving.settings import Limits

    kinds = {field.name: int if field.type == "int" else float for field in dataclasses.fields(Limits)}
    changed: dict[str, Any] = {}
    for text in given:
        key, _, number = text.partition("=")
        if key not in kinds:
            raise ModRWKVError(f"there is no limit {key!r}", hint=f"the limits are {', '.join(kinds)}")
        try:
            changed[key] = kinds[key](number)
        except ValueError:
            raise ModRWKVError(f"the limit {key} is {number!r}", hint="give a number") from None
    return Limits(**changed)
