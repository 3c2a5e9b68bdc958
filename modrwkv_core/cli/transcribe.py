"""``modrwkv transcribe``: what is said in a recording of any length."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modrwkv_core.cli.options import checkpoint_option
from modrwkv_core.cli.terminal import shown

if TYPE_CHECKING:
    from modrwkv_core.inference.transcription import Transcript

PARTIAL_SECONDS = 2.0


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("file", default="-", metavar="[FILE|-]", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--stream",
    is_flag=True,
    help=f"Show partial results, too, after every {PARTIAL_SECONDS:g} seconds of sound: on a terminal in place, with "
    "--json as objects that are not final.",
)
@click.option(
    "--rate",
    type=click.IntRange(1_000, 768_000),
    default=16_000,
    show_default=True,
    help="Samples per second of standard input.",
)
@click.option(
    "--window",
    type=click.FloatRange(1.0, 600.0),
    default=30.0,
    show_default=True,
    help="Longest stretch that is transcribed at once, in seconds: that of the recordings of training.",
)
@click.option(
    "--prompt",
    default="",
    help="What the user says after the recording, as in training; by default nothing. A ctc head does not read it.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=448,
    show_default=True,
    help="Of a window's text, if the head predicts tokens.",
)
@click.option(
    "--head",
    metavar="NAME",
    help="The head that transcribes; by default the ctc head for audio, or without one, the head that predicts tokens.",
)
@checkpoint_option
@click.option("--device", help="Where to compute; by default a GPU if there is one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line: start, end, text, final.")
def transcribe(
    run: Path,
    file: Path,
    stream: bool,
    rate: int,
    window: float,
    prompt: str,
    max_tokens: int,
    head: str | None,
    checkpoint: str,
    device: str | None,
    as_json: bool,
) -> None:
    """Write what the model of RUN hears in FILE, a line for each window.

    Without FILE, standard input is read as it comes: raw 16-bit little-endian samples of one channel. Memory does not
    grow with the recording. A window ends at the quietest place of its last 5 seconds, or of its second half where that
    is shorter, and the next one begins there.
    """
    from modrwkv_core.inference.loading import load
    from modrwkv_core.inference.transcription import TranscriptionSettings
    from modrwkv_core.inference.transcription import transcribe as transcribe_blocks
    from modrwkv_core.modalities.audio_blocks import read_file_blocks, read_pcm16_blocks

    settings = TranscriptionSettings(
        window=window,
        pause_search=min(5.0, window / 2),
        partial_every=PARTIAL_SECONDS if stream else None,
        prompt=prompt,
        max_tokens=max_tokens,
    )
    session = load(run, checkpoint=checkpoint, device=device)
    blocks = read_pcm16_blocks(sys.stdin.buffer, rate) if str(file) == "-" else read_file_blocks(file)
    for transcript in transcribe_blocks(session, blocks, settings, head):
        _show(transcript, as_json=as_json)


def _show(transcript: Transcript, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(transcript), ensure_ascii=False))
        return
    is_terminal = sys.stdout.isatty()
    text = shown(transcript.text.strip())
    if transcript.final:
        click.echo(f"\r\x1b[2K{text}" if is_terminal else text)
    elif is_terminal:
        click.echo(f"\r\x1b[2K{text}", nl=False)
