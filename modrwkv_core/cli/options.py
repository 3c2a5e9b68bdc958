"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce, wraps
from pathlib import Path
from typing import Any, Final

import click

__all__ = ["answer_options", "checkpoint_option", "load_options"]

_SAMPLING: Final = {
    "temperature": click.option(
        "--temperature", default=0.0, show_default=True, help="0 always takes the likeliest token."
    ),
    "top_p": click.option(
        "--top-p", default=1.0, show_default=True, help="Draw among the likeliest tokens of this probability."
    ),
    "top_k": click.option(
        "--top-k", default=0, show_default=True, help="Draw among this many of the likeliest tokens; 0: all."
    ),
    "min_p": click.option(
        "--min-p", default=0.0, show_default=True, help="Draw tokens at least this share as likely as the likeliest."
    ),
    "typical_p": click.option(
        "--typical-p", default=1.0, show_default=True, help="Draw among the most typical tokens of this probability."
    ),
    "repetition_penalty": click.option(
        "--repetition-penalty", default=1.0, show_default=True, help="Above 1, repeat fewer tokens of the answer."
    ),
    "presence_penalty": click.option(
        "--presence-penalty", default=0.0, show_default=True, help="Above 0, prefer tokens that the answer lacks."
    ),
    "frequency_penalty": click.option(
        "--frequency-penalty", default=0.0, show_default=True, help="Above 0, repeat frequent tokens less."
    ),
    "seed": click.option("--seed", type=int, help="Make a drawn answer repeatable."),
}
"""The options of :class:`modrwkv_core.inference.sampling.Sampling`, by its fields."""


def checkpoint_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--checkpoint``, for :meth:`modrwkv_core.model.run.RunFolder.select`."""
    return click.option(
        "--checkpoint",
        default="last",
        show_default=True,
        metavar="last|best|STEP",
        help="Which of the run's checkpoints: the newest, that of the best validation, or the one after so many steps.",
    )(command)


def load_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what :func:`modrwkv_core.inference.loading.load` takes: ``--checkpoint``, ``--device`` and the like."""
    return _all(
        command,
        checkpoint_option,
        click.option("--device", help="Where to compute; by default a GPU if there is one."),
        click.option(
            "--weights",
            type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
            default="auto",
            show_default=True,
            help="How backbone weights are stored: fewer bytes answer faster, auto loses nothing; int8 is for CPUs.",
        ),
        click.option(
            "--state",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Begin with the state of this file, as state tuning makes one; by default with the run's own.",
        ),
    )


def answer_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add how an answer is drawn and where it ends: the parameters ``max_tokens``, ``sampling`` and ``stop``."""

    @wraps(command)
    def with_sampling(*args: Any, **kwargs: Any) -> Any:
        from modrwkv_core.inference.sampling import Sampling

        return command(*args, sampling=Sampling(**{name: kwargs.pop(name) for name in _SAMPLING}), **kwargs)

    return _all(
        with_sampling,
        click.option("--max-tokens", default=256, show_default=True, help="Stop after this many tokens."),
        *_SAMPLING.values(),
        click.option("--stop", multiple=True, metavar="TEXT", help="End the answer before this text; may be repeated."),
    )


def _all(command: Callable[..., Any], *options: Callable[..., Any]) -> Callable[..., Any]:
    """Add options, which the help shows in this order."""
    return reduce(lambda decorated, option: option(decorated), reversed(options), command)
