"""``modrwkv generate``: ask a trained run about text, images, sounds and series."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from modrwkv_core.registry import discover


def _options_of_modalities() -> list[click.Option]:
    return [
        click.Option(
            [f"--{modality.spec.name}", f"media_{modality.spec.name}"],
            multiple=True,
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=f"Show the model {modality.spec.summary}; may be repeated.",
        )
        for modality in discover().modalities()
    ]


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("prompt")
@click.option("--max-tokens", default=256, show_default=True, help="Stop after this many tokens.")
@click.option("--temperature", default=0.0, show_default=True, help="0 always takes the likeliest token.")
@click.option("--top-p", default=1.0, show_default=True, help="Draw among the likeliest tokens of this probability.")
@click.option("--seed", type=int, help="Make a drawn answer repeatable.")
@click.option("--head", metavar="NAME", help="The head that answers, where the model has several that predict tokens.")
@click.option("--device", help="Where to compute; by default a GPU if there is one.")
@click.option(
    "--weights",
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    default="auto",
    show_default=True,
    help="How the backbone's weights are stored: fewer bytes answer faster on a CPU, and auto loses nothing.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of streamed text.")
def generate(
    run: Path,
    prompt: str,
    max_tokens: int,
    temperature: float,
    top_p: float,
    seed: int | None,
    head: str | None,
    device: str | None,
    weights: str,
    as_json: bool,
    **media: tuple[Path, ...],
) -> None:
    """Ask the model of RUN the question PROMPT.

    Media stand before the text, or where the prompt has placeholders such as <image>.
    """
    from modrwkv_core.data.placeholders import place_media
    from modrwkv_core.inference.sampling import Sampling
    from modrwkv_core.inference.session import load
    from modrwkv_core.interfaces.record import Media

    sampling = Sampling(temperature, top_p, seed)
    session = load(run, device=device, weights=weights)
    given = [Media(option.removeprefix("media_"), path) for option, paths in media.items() for path in paths]
    began = time.perf_counter()
    pieces = session.stream(place_media([prompt], given)[0], max_tokens=max_tokens, sampling=sampling, head=head)
    if as_json:
        text = "".join(pieces)
        click.echo(json.dumps({"text": text, "seconds": round(time.perf_counter() - began, 3)}, ensure_ascii=False))
        return
    for piece in pieces:
        click.echo(piece, nl=False)
    click.echo()


generate.params.extend(_options_of_modalities())
