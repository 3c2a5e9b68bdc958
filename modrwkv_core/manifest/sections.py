"""What all sections of the manifest share: frozen, documented, and without unknown keys."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

__all__ = ["Name", "Section", "refusal", "refuse_unknown_keys"]

Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""A word that can stand in a dotted path."""


class Section(BaseModel):
    """Base of the manifest's own sections: frozen, documented, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            refuse_unknown_keys(cls, value)
        return value


def refuse_unknown_keys(model: type[BaseModel], section: Mapping[str, Any]) -> None:
    """Refuse keys that ``model`` does not have, with the nearest that it has.

    Raises:
        ValidationError: With one error for each unknown key.
    """
    known = [field.alias or name for name, field in model.model_fields.items()]
    problems = []
    for key in section:
        if key not in known and key not in model.model_fields:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
            problems.append(refusal((key,), section[key], "unknown key", hint))
    if problems:
        raise ValidationError.from_exception_data(model.__name__, problems)


def refusal(path: tuple[str | int, ...], value: Any, message: str, hint: str | None = None) -> InitErrorDetails:
    """Return a problem at ``path`` below the model that is being validated, for pydantic."""
    # Braces would be read as pydantic's template language; the context carries both texts instead.
    error = PydanticCustomError("refusal", "{message}", {"message": message, "hint": hint})
    return InitErrorDetails(type=error, loc=path, input=value)
