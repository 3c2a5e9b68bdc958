"""The states after responses, from which later ones go on."""

from __future__ import annotations

from collections import OrderedDict

from modrwkv_core.inference.snapshot import Snapshot
from modrwkv_core.serving.errors import APIError, not_found

__all__ = ["ResponseStore"]


class ResponseStore:
    """States by the ids of the responses that they are the past of. Any number of responses may go on from one.

    Args:
        limit: States that are kept at most; beyond it, the one that was not used for longest is forgotten.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._states: OrderedDict[str, tuple[str, Snapshot]] = OrderedDict()  # the one that was used last at the end

    def keep(self, identifier: str, model: str, state: Snapshot) -> None:
        """Keep the state after a response of ``model``."""
        self._states[identifier] = model, state
        if len(self._states) > self._limit:
            self._states.popitem(last=False)

    def get(self, identifier: str, model: str) -> Snapshot:
        """Return the state after a response.

        Raises:
            APIError: There is no such response, or it is another model's.
        """
        if identifier not in self._states:
            raise not_found("previous response", identifier, "previous_response_id")
        owner, state = self._states[identifier]
        if owner != model:
            raise APIError(400, f"the previous response is by the model {owner!r}", param="previous_response_id")
        self._states.move_to_end(identifier)
        return state

    def delete(self, identifier: str) -> None:
        """Forget the state after a response.

        Raises:
            APIError: There is no such response.
        """
        if self._states.pop(identifier, None) is None:
            raise not_found("response", identifier)
