"""Turns pydantic's complaints into one error for users: file and line, dotted path, what is wrong, what to do."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from modrwkv_core.errors import ManifestError, ModRWKVError
from modrwkv_core.manifest.document import KeyPath, dotted

__all__ = ["explain"]


@dataclass(frozen=True, slots=True)
class _Problem:
    place: str
    message: str
    hint: str | None
    cause: ModRWKVError | None


def explain(error: ValidationError, origins: Mapping[KeyPath, str], below: KeyPath = ()) -> ManifestError:
    """Return the error to raise for ``error``, with its causes chained.

    Args:
        error: What pydantic says.
        origins: Where each value of the manifest comes from.
        below: Path of the section that was validated.
    """
    errors = error.errors(include_url=False)
    problems = [_problem(details, origins, below) for details in errors if not _follows(details, errors)]
    if len(problems) == 1:
        explained = ManifestError(f"{problems[0].place}: {problems[0].message}", hint=problems[0].hint)
    else:
        explained = ManifestError(
            "\n".join(
                f"{problem.place}: {problem.message}" + (f" ({problem.hint})" if problem.hint else "")
                for problem in problems
            )
        )
    explained.__cause__ = next((problem.cause for problem in problems if problem.cause), None)
    return explained


def _follows(details: Mapping[str, Any], errors: list[Any]) -> bool:
    """Whether a list is only too short because pydantic left out its items that are not valid."""
    path = details["loc"]
    return details["type"] == "too_short" and any(
        other["loc"][: len(path)] == path and len(other["loc"]) > len(path) for other in errors
    )


def _problem(details: Mapping[str, Any], origins: Mapping[KeyPath, str], below: KeyPath) -> _Problem:
    path = (*below, *(key for key in details["loc"] if key != "[key]"))
    known = next(path[:end] for end in range(len(path), -1, -1) if path[:end] in origins)
    place = f"{origins[known]}: {dotted(path)}" if path else origins[known]
    context = details.get("ctx", {})
    cause = context.get("error")
    match details["type"]:
        case "refusal":
            return _Problem(place, context["message"], context["hint"], None)
        case "missing":
            return _Problem(place, "required, but missing", None, None)
        case "model_type" | "dict_type":
            return _Problem(
                place, f"must be a mapping of keys to values, not {reprlib.repr(details['input'])}", None, None
            )
        case "extra_forbidden":
            return _Problem(place, "unknown key", None, None)
        case "value_error" if isinstance(cause, ModRWKVError):
            return _Problem(place, _without_hint(cause), cause.hint, cause)
        case "value_error":
            return _Problem(place, str(cause), None, None)
    message = (details["msg"][0].lower() + details["msg"][1:]).replace("tuple", "list")
    return _Problem(place, f"{message} (got {reprlib.repr(details['input'])})", None, None)


def _without_hint(error: ModRWKVError) -> str:
    return str(error).removesuffix(f"\nhint: {error.hint}")
