"""The exceptions that users meet: what happened, which component or file, what to do next.

Every error that a user can cause is a :class:`ModRWKVError`, hence a ``ValueError``; the command line prints it without
a traceback and exits with 2. Anything else that escapes is our own mistake.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ComponentError",
    "DataError",
    "EngineError",
    "HubError",
    "ManifestError",
    "ModRWKVError",
    "PluginError",
    "QueueFullError",
    "WiringError",
    "WriteError",
]


class ModRWKVError(ValueError):
    """Base of all errors that users can cause and fix.

    Args:
        message: What happened and where.
        component: The component concerned, as ``kind/name``.
        distribution: The installed distribution that provides it.
        hint: What to do next.
    """

    def __init__(
        self,
        message: str,
        *,
        component: str | None = None,
        distribution: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.component = component
        self.distribution = distribution
        self.hint = hint

    def __str__(self) -> str:
        origin = ", ".join(
            text
            for text in (self.component, f"from {self.distribution}" if self.distribution else None)
            if text is not None
        )
        lines = [f"{self.message} ({origin})" if origin else self.message]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class PluginError(ModRWKVError):
    """A plugin cannot be used: not installed, broken, disabled, incompatible, or its name is claimed twice."""


class ManifestError(ModRWKVError):
    """A manifest is not valid: unknown key, wrong value, unreadable file."""


class WiringError(ModRWKVError):
    """Two neighbouring components do not fit: widths or lengths."""


class ComponentError(ModRWKVError):
    """A component refuses its configuration or its input."""


class DataError(ModRWKVError):
    """A record, a media file or a data set is missing, broken or not of the documented form."""


class CheckpointError(ModRWKVError):
    """A checkpoint is missing, damaged, incomplete, or belongs to another manifest."""


class WriteError(ModRWKVError):
    """A file cannot be written: the disk is full, or its folder is missing or read-only."""


class HubError(ModRWKVError):
    """The Hugging Face Hub refuses or cannot be reached."""


class EngineError(ModRWKVError):
    """An engine takes no requests: it is closed, or it has failed."""


class QueueFullError(EngineError):
    """An engine has as many waiting requests as it may have. One that is sent later can succeed."""
