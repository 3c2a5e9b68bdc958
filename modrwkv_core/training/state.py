"""State tuning: the initial state of the backbone learns."""

from __future__ import annotations

from modrwkv_core.interfaces.component import INITIAL_STATE, Backbone, Component
from modrwkv_core.interfaces.finetuning import FinetuningMethod
from modrwkv_core.training.config import StateConfig

__all__ = ["StateFinetuning"]


class StateFinetuning(FinetuningMethod[StateConfig]):
    """Trains the state that every conversation begins with, and all parameters of parts that are no backbone.

    The state begins as the one that the backbone begins with, which is zeros.
    """

    def prepare(self, part: Component) -> None:
        """Give a backbone an initial state that can learn.

        Raises:
            ComponentError: The backbone cannot have one.
        """
        if isinstance(part, Backbone) and not _initial_state(part):
            part.set_initial_state(part.init_state(1))

    def trainable(self, part: Component) -> set[str]:
        """Return the names of the initial state's parameters; all names of a part that is no backbone."""
        names = {name for name, _ in part.named_parameters()}
        return (_initial_state(part) or names) if isinstance(part, Backbone) else names

    def frozen(self, part: Component) -> set[str]:
        """Return the names of all other parameters."""
        return {name for name, _ in part.named_parameters()} - self.trainable(part)


def _initial_state(part: Component) -> set[str]:
    return {name for name, _ in part.named_parameters() if name.startswith(INITIAL_STATE)}
