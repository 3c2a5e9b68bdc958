"""``modrwkv chat``: talk with a trained run."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modrwkv_core.cli.options import answer_options, load_options

if TYPE_CHECKING:
    from modrwkv_core.inference.sampling import Sampling


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@answer_options
@click.option("--head", metavar="NAME", help="The head that answers, where the model has several that predict tokens.")
@load_options
def chat(
    run: Path,
    max_tokens: int,
    sampling: Sampling,
    stop: tuple[str, ...],
    head: str | None,
    checkpoint: str,
    device: str | None,
    weights: str,
    state: Path | None,
) -> None:
    """Talk with the model of RUN.

    Each line is a question, or a command that begins with a slash: /help lists them. Ctrl-C stops an answer, Ctrl-D
    leaves. Lines may come from a pipe; then only answers are printed.
    """
    from modrwkv_core.cli.chat_loop import ChatLoop
    from modrwkv_core.inference.chat import Chat
    from modrwkv_core.inference.engine import Engine
    from modrwkv_core.inference.engine_settings import EngineSettings
    from modrwkv_core.inference.loading import load

    session = load(run, checkpoint=checkpoint, device=device, weights=weights, state=state)
    session.token_head(head)
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Bytes that are not UTF-8 can stand in paths; in a question they are an error of that question.
        sys.stdin.reconfigure(errors="surrogateescape")
    with Engine(session, EngineSettings(slots=1, prefix_cache_bytes=0)) as engine:
        talk = Chat(engine, max_tokens=max_tokens, sampling=sampling, stop=stop, head=head)
        ChatLoop(talk, interactive=sys.stdin.isatty() and sys.stdout.isatty()).run()
