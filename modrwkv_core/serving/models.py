"""The models of a server by name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import to_thread

from modrwkv_core.inference.engine import Engine
from modrwkv_core.inference.sampling import Sampling
from modrwkv_core.inference.sessions import SessionStore
from modrwkv_core.serving.errors import APIError, not_found
from modrwkv_core.serving.metrics import Metrics
from modrwkv_core.serving.schemas.common import SamplingFields, StructuredOutputs

if TYPE_CHECKING:
    from modrwkv_core.inference.constraint import Constraint

__all__ = ["Model", "Models", "sampling"]

ResultT = TypeVar("ResultT")


@dataclass
class Model:
    """One model of a server.

    Attributes:
        name: What requests call it.
        engine: Answers.
        sessions: Keeps conversations.
        metrics: Counts.
        created: When it was loaded, in seconds of Unix time.
    """

    name: str
    engine: Engine
    sessions: SessionStore
    metrics: Metrics
    created: int = field(default_factory=lambda: int(time.time()))

    async def run(self, work: Callable[[], ResultT]) -> ResultT:
        """Return what ``work`` returns, done with the model between two steps of its answers."""
        return await asyncio.wrap_future(self.engine.call(work))

    async def constraint(self, outputs: StructuredOutputs | None, schema: dict[str, Any] | None) -> Constraint | None:
        """Return what keeps an answer in the form that is asked for; None if any will do.

        Raises:
            APIError: Two forms are asked for.
            ModRWKVError: The schema or expression is malformed, or the server lacks ``modrwkv[grammar]``.
        """
        if outputs is not None and schema is not None:
            raise APIError(400, "give one of structured_outputs, response_format and a required tool")
        session = self.engine.session  # whose constraints take a moment to be made
        if schema is not None:
            return await to_thread.run_sync(lambda: session.constraints.json_schema(schema))
        if outputs is not None and outputs.regex is not None:
            regex = outputs.regex
            return await to_thread.run_sync(lambda: session.constraints.regex(regex))
        if outputs is not None and outputs.choice is not None:
            choice = outputs.choice
            return await to_thread.run_sync(lambda: session.constraints.choices(choice))
        return None


class Models:
    """The models of a server.

    Args:
        models: By name; not empty.
    """

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = dict(models)

    def __iter__(self) -> Iterator[Model]:
        """Yield the models."""
        return iter(self._models.values())

    def __getitem__(self, name: str) -> Model:
        """Return a model.

        Raises:
            APIError: There is none of this name.
        """
        if name not in self._models:
            raise not_found("model", name, "model")
        return self._models[name]

    def of_session(self, identifier: str) -> Model:
        """Return the model whose conversation this is; it may look for a file.

        Raises:
            APIError: There is no such conversation.
        """
        for model in self:
            if identifier in model.sessions:
                return model
        raise not_found("session", identifier, "session")


def sampling(fields: SamplingFields, choice: int = 0) -> Sampling:
    """Return the settings that ``fields`` are; of several answers of one seed, each has its own."""
    values = fields.model_dump(include=set(SamplingFields.model_fields))
    if fields.seed is not None:
        values["seed"] = fields.seed + choice
    return Sampling(**values)
