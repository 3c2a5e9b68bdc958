"""The harnesses' arguments of generation, as a request of an engine takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch

from modrwkv_core.errors import ModRWKVError
from modrwkv_core.inference.sampling import Sampling

__all__ = ["GenerationOptions"]

_MAX_TOKENS: Final = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""What the harnesses call the limit, in their order of precedence."""


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """How an answer is generated.

    Attributes:
        max_tokens: Tokens at most.
        stop: Strings that end the answer, which does not hold them.
        sampling: How tokens are drawn.
    """

    max_tokens: int
    stop: tuple[str, ...]
    sampling: Sampling

    @classmethod
    def of(cls, arguments: Mapping[str, Any], max_tokens: int) -> GenerationOptions:
        """Read the arguments of a task.

        Tokens are drawn if ``do_sample`` says so or, without it, if the temperature is above 0; ``do_sample`` without
        a temperature draws at 1, as transformers does. The seed of each answer comes from torch's generator, which the
        harness seeds.

        Args:
            arguments: ``until``, ``max_gen_toks`` or one of its other names, ``do_sample``, ``temperature``, ``top_p``,
                ``top_k``, ``min_p``, ``typical_p`` and ``repetition_penalty``. ``num_beams`` must be 1.
            max_tokens: The limit if none is given.

        Raises:
            ModRWKVError: An argument is unknown or out of its range.
        """
        left = {name: value for name, value in arguments.items() if value is not None}
        limits = [int(left.pop(name)) for name in _MAX_TOKENS if name in left]
        until = left.pop("until", [])
        stop = tuple(text for text in ([until] if isinstance(until, str) else until) if text)
        temperature = left.pop("temperature", None)
        draws = left.pop("do_sample", bool(temperature))
        if left.pop("num_beams", 1) != 1:
            raise ModRWKVError("beam search is not supported", hint="evaluate with --gen_kwargs num_beams=1")
        settings: dict[str, Any] = {"repetition_penalty": float(left.pop("repetition_penalty", 1.0))}
        drawing = {
            "top_p": float(left.pop("top_p", 1.0)),
            "top_k": int(left.pop("top_k", 0)),
            "min_p": float(left.pop("min_p", 0.0)),
            "typical_p": float(left.pop("typical_p", 1.0)),
        }
        if left:
            raise ModRWKVError(
                f"the task generates with {', '.join(sorted(left))}, which this model does not have",
                hint="remove it from generation_kwargs in the task's file",
            )
        if draws:
            settings |= drawing
            settings["temperature"] = 1.0 if temperature is None else float(temperature)
            settings["seed"] = int(torch.randint(2**63 - 1, ()))
        return cls(limits[0] if limits else max_tokens, stop, Sampling(**settings))
